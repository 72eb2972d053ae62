"""The door of the HTTP API: who is let in to the app behind it, over HTTPS too."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from pydantic import ValidationError

from retrograde.runtime.rates import Rates
from retrograde.runtime.tls import Identity
from retrograde.runtime.tokens import Tokens
from services.inference import http_door, openai
from services.inference.http_door import HttpDoor
from services.inference.settings import InferenceSettings
from tests.certificates import Authority
from tests.unit.inference.fakes_inference import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 100
TOKEN = {"authorization": "Bearer right"}


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "tokens.yaml"
    path.write_text(f"alice: {hashlib.sha256(b'right').hexdigest()}\n")
    return Tokens(path)


async def status(door: HttpDoor, path: str = "/v1/models", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "headers": encoded, "client": ("10.0.0.1", 1)}
    await door(scope, None, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


async def test_a_token_is_asked_for(tokens: Tokens) -> None:
    """Without it, or with another, 401; with it the app answers; health needs none."""
    door = HttpDoor(app, tokens, Rates(None), MAX_BYTES)
    asked = [status(door), status(door, authorization="Bearer wrong"), status(door, **TOKEN), status(door, "/health")]
    assert [code for code, _ in await asyncio.gather(*asked)] == [401, 401, 200, 200]


async def test_a_websocket_needs_the_token_too(tokens: Tokens) -> None:
    """One without it is closed before the app hears of it."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    door = HttpDoor(app, tokens, Rates(None), MAX_BYTES)
    await door({"type": "websocket", "path": "/v1/realtime", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_requests_are_counted_and_measured() -> None:
    """A body too large is 413, one without a length 411, and one request too many 429, told when to come again."""
    now = [0.0]
    door = HttpDoor(app, None, Rates(3, clock=lambda: now[0]), MAX_BYTES)
    codes = [
        (await status(door, content_length=str(MAX_BYTES)))[0],
        (await status(door, content_length=str(MAX_BYTES + 1)))[0],
        (await status(door, transfer_encoding="chunked"))[0],
    ]
    assert codes == [200, 413, 411]
    late, headers = await status(door)
    assert (late, headers["retry-after"]) == (429, "1")


async def test_requests_at_once_are_bounded() -> None:
    """Beside `max_calls` being answered another is 429, told when to come again; health does not count."""
    held = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await held.wait()
        await app(scope, receive, send)

    door = HttpDoor(slow, None, Rates(None), MAX_BYTES, max_calls=1)
    asked = [asyncio.create_task(status(door, path)) for path in ("/health", "/v1/models", "/v1/completions")]
    late, headers = await asked[2]
    assert (late, headers["retry-after"]) == (429, "1")
    held.set()
    assert [code for code, _ in await asyncio.gather(*asked[:2])] == [200, 200]
    assert (await status(door))[0] == 200


class Server(uvicorn.Server):
    """As vLLM's: signals are the process's."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


def shown(port: int, trusted: Path) -> bytes:
    """The certificate that the server shows, after a request that it has answered."""
    context = ssl.create_default_context(cafile=trusted)
    with contextlib.closing(http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)) as connection:
        connection.request("GET", "/v1/models")
        assert connection.getresponse().read() == b"answer"
        certificate: bytes = connection.sock.getpeercert(binary_form=True)
    return certificate


async def test_https_takes_a_renewed_certificate_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's certificate is shown, and without a restart the one that takes its place."""
    monkeypatch.setattr(http_door, "_LOOK_SECONDS", 0.01)
    authority, folder = Authority(tmp_path / "authority"), tmp_path / "tls"
    tls = authority.issue(folder, "DNS:inference.retrograde")
    settings = InferenceSettings(checkpoint=write_checkpoint(tmp_path / "model"), tls=tls)
    server = Server(openai.config(app, settings))
    async with asyncio.timeout(120), openai.listening(server, settings, asyncio.Event(), Identity.of(tls)):
        port = server.servers[0].sockets[0].getsockname()[1]
        before = await asyncio.to_thread(shown, port, tls.authority)
        authority.issue(folder, "DNS:inference.retrograde")
        while await asyncio.to_thread(shown, port, tls.authority) == before:
            await asyncio.sleep(0.01)


def test_a_token_does_not_cross_a_network_in_plaintext(tmp_path: Path) -> None:
    """Tokens, HTTP for other machines and no TLS are refused together."""
    with pytest.raises(ValidationError, match="tokens: not in plaintext over a network; set tls, or openai_host"):
        InferenceSettings(
            checkpoint=write_checkpoint(tmp_path / "model"), tokens="/t", openai_host="10.0.0.1", openai_port=8000
        )


def test_an_encrypted_api_for_other_machines_asks_for_tokens(tmp_path: Path) -> None:
    """Where callers are told apart at every other door, HTTPS for other machines without tokens is refused."""
    tls = {name: tmp_path / name for name in ("certificate", "key", "authority")}
    settings = {"checkpoint": write_checkpoint(tmp_path / "model"), "tls": tls, "openai_port": 8000}
    assert InferenceSettings.model_validate(settings).openai_host == "127.0.0.1"
    with pytest.raises(ValidationError, match="openai_port: whoever reaches it could generate; set tokens, or openai"):
        InferenceSettings.model_validate(settings | {"openai_host": "10.0.0.1"})
