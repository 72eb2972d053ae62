"""Tokens, and how often a caller may call."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.errors import InvalidInputError, RateLimitedError, UnauthenticatedError
from retrograde.runtime.rates import Rates
from retrograde.runtime.settings import ServiceSettings, load_settings
from retrograde.runtime.tokens import Tokens

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"certificate": "/a", "key": "/b", "authority": "/c"}


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(f"alice: {digest('one')}\nbob: {digest('two')}\n")
    return path


def test_a_token_is_its_owners(file: Path) -> None:
    """Each token is told by its digest, however the scheme is spelt."""
    tokens = Tokens(file)
    assert [tokens.owner("Bearer one"), tokens.owner("bearer two")] == ["alice", "bob"]


def test_tokens_follow_their_file(file: Path) -> None:
    """A token that is taken out opens nothing from then on, a new one does; a broken file changes nothing."""
    tokens = Tokens(file)
    file.write_text(f"carol: {digest('three')}\n")
    with pytest.raises(UnauthenticatedError, match="nobody has this token"):
        tokens.owner("Bearer one")
    assert tokens.owner("Bearer three") == "carol"
    file.write_text("carol: [")
    assert tokens.owner("Bearer three") == "carol"


@pytest.mark.parametrize("text", ["alice: hunter2", "- hunter2", "alice: [hunter2"])
def test_a_wrong_file_of_tokens_is_named_and_not_quoted(file: Path, text: str) -> None:
    """The error names the file and what to write; whatever stands there, maybe a token, is not repeated."""
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=f"tokens: {file}: .*SHA") as refused:
        Tokens(file)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"listen": "0.0.0.0:0", "tokens": "/t"}, "tokens: not in plaintext over a network; set tls, or listen on 127"),
        ({"public_port": 1}, "public_port: it speaks TLS and takes tokens; set tls and tokens, or public_port: 0"),
        ({"public_port": 1, "tls": FILES}, "public_port: it speaks TLS and takes tokens; set tls and tokens"),
        ({"callers": {"x": "boss"}}, "callers.x: 'boss': Input should be 'inference', 'search'"),
    ],
)
def test_tokens_are_never_sent_in_the_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, object], said: str
) -> None:
    """Settings under which a token would cross a network in plaintext, or a port would be useless, are refused."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings))
    with pytest.raises(SystemExit):
        load_settings(ServiceSettings, ["--config", str(config)])
    assert f"{config}: {said}" in capsys.readouterr().err


def test_tokens_in_plaintext_are_for_this_machine() -> None:
    """Loopback needs no TLS."""
    for listen in ("127.0.0.1:0", "localhost:0", "[::1]:0"):
        ServiceSettings.model_validate({"listen": listen, "tokens": "/t"})


def test_each_caller_has_its_own_rate() -> None:
    """A second's worth at once, then as the rate gives; told how long to wait; others are not held up by it."""
    now = [0.0]
    rates = Rates(4, clock=lambda: now[0])
    for _ in range(4):
        rates.take("search")
    with pytest.raises(RateLimitedError, match=r"search calls more than 4 times a second .* in 0.25 s") as refused:
        rates.take("search")
    rates.take("rollouts")
    now[0] += refused.value.retry_seconds
    rates.take("search")
    with pytest.raises(RateLimitedError):
        rates.take("search")


def test_a_slow_rate_lets_one_call_through() -> None:
    """Less than one a second is one call, and then a wait."""
    now = [0.0]
    rates = Rates(0.5, clock=lambda: now[0])
    rates.take("cli")
    with pytest.raises(RateLimitedError) as refused:
        rates.take("cli")
    assert refused.value.retry_seconds == pytest.approx(2.0)
