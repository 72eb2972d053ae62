"""A process of the platform: built in `__main__`, served until told to stop, closed in reverse order.

    async def run(settings):
        async with Process("search", settings) as process:
            inference = await process.enter(InferenceClient(settings.inference, identity=process.identity))
            process.add_servicer(add_SearchServiceServicer_to_server, Servicer(), "retrograde.v1.SearchService")
            process.add_worker(lambda drain: consume(process.broker, ..., drain=drain))
            await process.serve()

`serve` binds, waits for the broker and for what workers prepare (NOT_SERVING, calls refused), starts the workers, says
SERVING and logs "ready" with its addresses. Health of LIVE is SERVING all the while. The first SIGTERM or SIGINT:
health NOT_SERVING -> `drain` set, new calls refused -> workers and calls in flight end or are handed back within
`drain_seconds` -> server stopped -> what was entered is closed, last first -> status 0. The second ends the process at
once. A signal during start-up stops the start. Bad input before serving is one line on stderr and status 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from retrograde.runtime import logs, metrics, ports, spans, starting
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.authorization import Doorkeeper
from retrograde.runtime.errors import ForbiddenError, InvalidInputError, RetrogradeError
from retrograde.runtime.interceptors import DRAINING, STARTING, CallsInFlight, ServerInterceptor
from retrograde.runtime.rates import Rates
from retrograde.runtime.settings import BAD_INPUT_STATUS, ServiceSettings
from retrograde.runtime.tls import Identity
from retrograde.runtime.tokens import Tokens
from retrograde.runtime.traced_broker import TracedBroker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from retrograde.runtime.broker import Broker
    from retrograde.runtime.objects import ObjectStore

T = TypeVar("T")

# Long silent calls survive: the server lets clients ping every 10 s also without a call, and pings them itself.
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
    ("grpc.max_send_message_length", 256 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_connection_age_ms", 60_000),  # its calls end where they are; the next look up who serves by then
)
LIVE = "live"
"""What probes ask whether a process is to be started anew: one that waits for its broker is not."""
_LAST_REPLIES_SECONDS = 0.5
_CANCEL_SECONDS = 5.0

_log = logs.get_logger(__name__)


class Process:
    """See the module. `drain` is set once the process was told to stop: streams and workers watch it."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self._name = name
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._services: list[str] = []
        self._steps: list[Callable[[], None]] = []
        self._workers: list[Callable[[asyncio.Event], Awaitable[None]]] = []
        self._calls = CallsInFlight()
        self._rates = Rates(settings.max_calls_per_second)
        self._doorkeeper: Doorkeeper
        self._serving = False
        self._signalled = False
        self.drain = asyncio.Event()
        self.address = ""

    async def __aenter__(self) -> Self:
        logs.configure(self._name, self._settings.log_level)
        self._task = asyncio.current_task()
        self._install_signals()
        await self.enter(spans.exporting(self._name, self._settings.tracing))
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # missing in the stubs
        num_ports = 2 if self._settings.public_port else 1
        self._servers = [self._new_server() for _ in range(num_ports)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            await self._stack.__aexit__(kind, error, traceback)
        finally:
            self._remove_signals()
        if isinstance(error, RetrogradeError) and not self._serving:
            print(f"error: {self._name}: {error}", file=sys.stderr)  # noqa: T201 - for the person who started it
            raise SystemExit(BAD_INPUT_STATUS if isinstance(error, InvalidInputError | ForbiddenError) else 1)
        if isinstance(error, asyncio.CancelledError) and self.drain.is_set() and self._task:
            self._task.uncancel()
            return True
        return False

    @functools.cached_property
    def identity(self) -> Identity | None:
        """What this process shows its clients and, through its own clients, its peers; None: it speaks plaintext."""
        return Identity.of(self._settings.tls) if self._settings.tls else None

    @functools.cached_property
    def tokens(self) -> Tokens | None:
        """Those of the public doors; None: nobody has one."""
        return Tokens(self._settings.tokens) if self._settings.tokens else None

    @functools.cached_property
    def broker(self) -> Broker:
        """The broker of the settings, opened by `serve`, closed with the process; its messages carry their cause."""
        broker = TracedBroker(functools.partial(open_broker, self._settings.broker))
        self._steps.append(broker.open)
        self._stack.callback(broker.close)
        return broker

    @functools.cached_property
    def store(self) -> ObjectStore:
        """The object store of the settings, opened on first use."""
        return open_store(self._settings.store)

    async def enter(self, manager: contextlib.AbstractAsyncContextManager[T]) -> T:
        """Enters `manager` now; it is left when the process ends, after what was entered later."""
        return await self._stack.enter_async_context(manager)

    def add_servicer(self, add_to_server: Callable[[Any, grpc.aio.Server], None], servicer: object, name: str) -> None:
        """Serves `servicer` as `name`, for example retrograde.v1.SearchService, in health and reflection too."""
        for server in self._servers:
            add_to_server(servicer, server)
        self._services.append(name)

    def add_worker(
        self, run: Callable[[asyncio.Event], Awaitable[None]], prepare: Callable[[], None] | None = None
    ) -> None:
        """Runs `run(drain)` beside the server; it returns once drain is set and its work ended or was handed back.

        `prepare` blocks; nothing is served and no worker runs before it returned, and while it raises UnavailableError
        it is called again.
        """
        self._workers.append(run)
        if prepare:
            self._steps.append(prepare)

    def stop(self) -> None:
        """What the first signal does; also for tests and for services that end by themselves."""
        self.drain.set()
        if not self._serving and self._task:
            self._task.cancel()

    def _new_server(self) -> grpc.aio.Server:
        """That of one port: what comes to another takes none of its `max_concurrent_calls`."""
        server = grpc.aio.server(
            interceptors=(ServerInterceptor(self._calls, self._admit),),
            options=(*_OPTIONS, ("grpc.max_receive_message_length", self._settings.max_message_bytes)),
            maximum_concurrent_rpcs=self._settings.max_concurrent_calls,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._stack.push_async_callback(server.stop, None)
        return server

    async def serve(self) -> None:
        """Serves until stopped; returns when drained.

        Raises:
            InvalidInputError: an address is taken or not this machine's, or the broker's URL or a file of it is wrong.
            ForbiddenError: the broker refuses this process a right.
            BaseException: whatever a worker failed with, after the same orderly stop.
        """
        public_address = self._bind()
        for server in self._servers:
            names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._health.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        addresses = {
            "public_address": public_address,
            "metrics_address": await self._serve_metrics(),
            "health_address": await self._serve_health(),
        }
        self._calls.refusal = STARTING
        for server in self._servers:
            await server.start()
        for step in self._steps:
            await starting.made(step)
        self._calls.refusal = ""
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        self._serving = True
        workers = [asyncio.create_task(_until_done(run(self.drain))) for run in self._workers]
        _log.info("ready", address=self.address, **addresses)
        try:
            await self._until_told(workers)
        finally:
            await self._drain(workers)
        for worker in workers:
            if not worker.cancelled():
                worker.result()

    async def _say(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        """Of the process and each of its services."""
        for name in ("", *self._services):
            await self._health.set(name, status)

    async def _until_told(self, workers: list[asyncio.Task[None]]) -> None:
        """Waits for the drain, or for a worker that ends before it."""
        told = asyncio.create_task(_until_done(self.drain.wait()))
        try:
            await asyncio.wait([told, *workers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
        for worker in workers:
            if worker.done() and not self.drain.is_set():
                _log.error("worker ended", reason=repr(worker.exception()) if not worker.cancelled() else "cancelled")

    async def _drain(self, workers: list[asyncio.Task[None]]) -> None:
        """The orderly stop; everything in flight has `drain_seconds`."""
        _log.info("draining", seconds=self._settings.drain_seconds)
        await self._health.enter_graceful_shutdown()
        self._calls.refusal = DRAINING
        self.drain.set()
        calls = asyncio.create_task(self._calls.idle())
        _, late = await asyncio.wait([calls, *workers], timeout=self._settings.drain_seconds)
        if late:
            _log.warning("drain cut off", workers=len(late - {calls}), calls=calls in late)
            self._calls.cut_off()
            for worker in late - {calls}:
                worker.cancel()
            await asyncio.wait(late, timeout=_CANCEL_SECONDS)
        calls.cancel()
        await asyncio.gather(*(server.stop(_LAST_REPLIES_SECONDS) for server in self._servers))
        _log.info("drained")

    def _admit(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The caller's name, if it may call this, and now."""
        caller = self._doorkeeper.admit(method, context)
        self._rates.take(caller)
        return caller

    def _bind(self) -> str:
        """Takes the port, or both of them; gives the address of the public one, "" without."""
        settings, identity = self._settings, self.identity
        self._doorkeeper = Doorkeeper(settings.callers, self.tokens)
        credentials = identity.server_credentials() if identity else None
        self.address = ports.bind(self._servers[0], "listen", settings.listen, credentials)
        if not settings.public_port or not identity:
            return ""
        listen = f"{settings.listen.rpartition(':')[0]}:{max(0, settings.public_port)}"
        return ports.bind(self._servers[1], "public_port", listen, identity.server_credentials(asks_certificate=False))

    async def _serve_metrics(self) -> str:
        """The address metrics are served at; empty when off."""
        if self._settings.metrics_port == 0:
            return ""
        host = self._settings.listen.rpartition(":")[0]
        port = await self.enter(metrics.serve(host.strip("[]"), self._settings.metrics_port))
        return f"{host}:{port}"

    async def _serve_health(self) -> str:
        """The address of the port for probes; empty when off."""
        if self._settings.health_port == 0:
            return ""
        host = self._settings.listen.rpartition(":")[0]
        listen = f"{host}:{max(0, self._settings.health_port)}"
        return await self.enter(ports.serving_health(listen, self._health))

    def _install_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(each, self._on_signal, each)

    def _remove_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(each)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signalled:
            _log.warning("second signal: ending at once", signal=number.name)
            os._exit(128 + number)
        self._signalled = True
        _log.info("stopping", signal=number.name)
        self.stop()


async def _until_done(awaitable: Awaitable[object]) -> None:
    await awaitable
