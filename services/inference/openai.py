"""The OpenAI-compatible HTTP API: vLLM's own app on the same engine, so that any client of that API can talk to it.

It listens on loopback unless told otherwise, and only its model routes are served: vLLM's control routes stay open
even behind an API key. `http_door` stands before it, and it speaks HTTPS where the process has an identity; clients
show no certificate. Its requests are held during a weight swap like all others (the engine itself pauses). Told to
stop it takes no more of them, and those that run have `drain_seconds`, like the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING, Any

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.rates import Rates
from services.inference.http_door import HttpDoor, follow_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from retrograde.runtime.tls import Identity
    from retrograde.runtime.tokens import Tokens
    from services.inference.engine import Engine
    from services.inference.settings import InferenceSettings

_SERVED_PREFIXES = ("/v1/", "/health")
_START_SECONDS = 30.0

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def serve(
    engine: Engine, settings: InferenceSettings, drain: asyncio.Event, tokens: Tokens | None, identity: Identity | None
) -> AsyncIterator[None]:
    """Serves HTTP until `drain`, or left. Raises InvalidInputError when the port cannot be had."""
    from vllm.entrypoints.launchers.launcher import NoSignalServer  # noqa: PLC0415

    level = logging.getLogger().level
    app = await _app(engine.llm, settings)
    logging.getLogger().setLevel(level)  # a library of the app's raises it: our own lines, "ready" too, would be lost
    rates, max_calls = Rates(settings.max_calls_per_second), settings.max_concurrent_calls
    door = HttpDoor(app, tokens, rates, settings.max_message_bytes, max_calls)
    app.state.server = server = NoSignalServer(config(door, settings))
    async with listening(server, settings, drain, identity):
        yield


def config(app: Any, settings: InferenceSettings) -> Any:
    """How uvicorn is to serve `app`."""
    import uvicorn  # noqa: PLC0415

    certificate, key = (settings.tls.certificate, settings.tls.key) if settings.tls else (None, None)
    return uvicorn.Config(
        app,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        host=settings.openai_host,
        port=settings.openai_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
    )


@contextlib.asynccontextmanager
async def listening(
    server: Any, settings: InferenceSettings, drain: asyncio.Event, identity: Identity | None = None
) -> AsyncIterator[None]:
    """The uvicorn server runs inside, and begins to stop at `drain`. Raises as `serve` does."""
    task = asyncio.create_task(_run(server))
    beside = [asyncio.create_task(_leave(server, drain))]
    try:
        await _started(server, task, settings)
        if settings.tls and identity:
            beside.append(asyncio.create_task(follow_files(server.config.ssl, settings.tls, identity)))
        log.info("http api ready", host=settings.openai_host, port=settings.openai_port)
        yield
    finally:
        for each in beside:
            each.cancel()
        server.should_exit = True
        await task


async def _leave(server: Any, drain: asyncio.Event) -> None:
    await drain.wait()
    server.should_exit = True


async def _run(server: Any) -> None:
    """Ends the task only: uvicorn leaves with SystemExit when it cannot bind."""
    with contextlib.suppress(SystemExit):
        await server.serve()


async def _started(server: Any, task: asyncio.Task[None], settings: InferenceSettings) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while not server.started:
            if task.done():
                raise InvalidInputError(
                    f"openai_port: cannot listen on {settings.openai_host}:{settings.openai_port}; "
                    "free the port or choose another (0 turns the HTTP API off)"
                )
            await asyncio.sleep(0.01)


async def _app(llm: Any, settings: InferenceSettings) -> Any:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state  # noqa: PLC0415
    from vllm.entrypoints.launchers.app import build_app  # noqa: PLC0415
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415

    parser = make_arg_parser(FlexibleArgumentParser())
    args = parser.parse_args(["--model", llm.model_config.model, "--served-model-name", settings.model_name])
    tasks = await llm.get_supported_tasks()
    app = build_app(args, tasks, llm.model_config)
    await init_app_state(llm, app.state, args, tasks)
    app.router.routes[:] = [each for each in app.router.routes if _is_served(each)]
    return app


def _is_served(route: Any) -> bool:
    return getattr(route, "path", "").startswith(_SERVED_PREFIXES)
