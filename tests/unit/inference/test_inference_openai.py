"""How the HTTP server leaves; the app in it answers for ever."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import uvicorn

from services.inference import openai
from services.inference.settings import InferenceSettings
from tests.unit.inference.fakes_inference import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Server(uvicorn.Server):
    """As vLLM's: signals are the process's."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


async def endless(scope: Any, _receive: Any, send: Any) -> None:
    """An ASGI app whose one answer never ends."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0.01)  # once the client has gone sending does not wait


@contextlib.asynccontextmanager
async def unread_answer(server: Server) -> AsyncIterator[None]:
    """A client that asks, and reads the first line of the answer only."""
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        yield
    finally:
        writer.close()


async def test_an_answer_nobody_reads_does_not_hold_the_exit(tmp_path: Path) -> None:
    """After drain_seconds it is cut off; they begin with the drain, before the server is left."""
    settings = InferenceSettings(checkpoint=write_checkpoint(tmp_path / "model"), drain_seconds=0.5)
    server, drain = Server(openai.config(endless, settings)), asyncio.Event()
    async with asyncio.timeout(30), openai.listening(server, settings, drain), unread_answer(server):
        drain.set()
        while server.server_state.tasks:
            await asyncio.sleep(0.01)
