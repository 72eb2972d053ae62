"""Our clients where they have to show something, or are told to wait."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from retrograde.core.problem import Problem
from retrograde.runtime.errors import PermissionDeniedError, UnauthenticatedError, UnavailableError
from retrograde.runtime.tls import Identity
from retrograde.wire.clients import InferenceClient, TrainerClient, VerifierClient
from tests.certificates import Authority
from tests.unit.security.started import started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.security.started import Started

EVERYTHING = "tests.unit.security.all_services_program"
PROBLEM = Problem("p", "t", "s", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens, and the identities `service` (for the host pool.example) and `search`."""
    folder = tmp_path_factory.mktemp("door")
    authority = Authority(folder / "authority")
    authority.issue(folder / "service", "DNS:inference.retrograde", "DNS:pool.example")
    authority.issue(folder / "search", "DNS:search.retrograde")
    (folder / "tokens.yaml").write_text(f"alice: {hashlib.sha256(b'right').hexdigest()}\n")
    return folder


def settings(folder: Path) -> dict[str, object]:
    """Of a service with both ports."""
    tls = {"certificate": "tls.crt", "key": "tls.key", "authority": "ca.crt"}
    files = {name: str(folder / "service" / file) for name, file in tls.items()}
    return {"tls": files, "tokens": str(folder / "tokens.yaml"), "public_port": -1}


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Started]:
    with started(folder, EVERYTHING, **settings(folder)) as service:
        service.until("ready")
        yield service


def identity(folder: Path) -> Identity:
    search = folder / "search"
    return Identity(authority=search / "ca.crt", certificate=search / "tls.crt", key=search / "tls.key")


async def test_a_client_with_a_token_uses_the_public_port(folder: Path, service: Started, tmp_path: Path) -> None:
    """It needs the authority and the token alone; once the file holds another one, that is sent."""
    token = tmp_path / "token"
    token.write_text("right\n")
    shown = Identity(authority=folder / "search" / "ca.crt", token=token)
    async with TrainerClient(service.until("ready")["public_address"], identity=shown) as client:
        assert await client.list_runs() == []
        token.write_text("another\n")
        with pytest.raises(UnauthenticatedError, match="nobody has this token"):
            await client.list_runs()


async def test_a_client_raises_what_it_may_not(folder: Path, service: Started) -> None:
    """PERMISSION_DENIED is an error of its own, at the first answer."""
    async with TrainerClient(service.until("ready")["address"], identity=identity(folder)) as client:
        with pytest.raises(PermissionDeniedError, match=r"search.retrograde may not call .*ListRuns; cli"):
            await client.list_runs()


async def test_a_client_that_is_told_to_wait_waits(folder: Path, tmp_path: Path) -> None:
    """A call too many ends well: the client comes again when it was told to."""
    with started(tmp_path, EVERYTHING, max_calls_per_second=0.25, **settings(folder)) as service:
        async with VerifierClient(service.until("ready")["address"], identity=identity(folder)) as client:
            answers = await asyncio.gather(*(client.verify([(PROBLEM, "1")]) for _ in range(2)))
        refused, *_ = [line["reason"] for line in service.lines() if line["event"] == "rpc refused"]
    assert answers == [[], []]
    assert refused.startswith(
        "search.retrograde calls more than 0.25 times a second (max_calls_per_second); call again"
    )


async def test_replicas_behind_a_name_show_a_certificate_for_it(folder: Path, service: Started) -> None:
    """With dns:/// the name that was asked for is checked, whatever address it has; another name is refused."""
    address = service.until("ready")["address"]

    async def resolve(_target: str) -> list[str]:
        return [address]

    async with InferenceClient("dns:///pool.example:1", identity=identity(folder), resolve=resolve) as client:
        assert (await client.get_model()).policy_version == 0
    wrong = InferenceClient("dns:///other.example:1", identity=identity(folder), resolve=resolve, patience_seconds=0)
    async with wrong as client:
        with pytest.raises(UnavailableError, match="Hostname Verification"):
            await client.get_model()
