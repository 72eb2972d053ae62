"""Starts the services of the local profile, watches them, restarts the fallen, stops them in reverse order.

    async with Supervisor(topology) as supervisor:   # all SERVING when the block begins
        ... supervisor.addresses["trainer"] ...
        await supervisor.failure                     # never done unless a service fell too often

A service that dies is started again after a back-off that doubles; more than `MAX_RESTARTS` in `WINDOW_SECONDS` is a
failure that carries its last log lines. A service that leaves with status 2 refused its settings: that is final.
Leaving the block sends SIGTERM, last wave first, and SIGKILL to what has not gone after the grace. Killed with -9, the
supervisor's children get SIGTERM from the kernel; what is still there when the next one starts is ended first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from retrograde.cli.children import Child, Identity, end_left_over
from retrograde.cli.topology import Topology, health_service, waves_of
from retrograde.runtime.errors import ConflictError, InvalidInputError, RetrogradeError
from retrograde.runtime.settings import BAD_INPUT_STATUS
from retrograde.wire.channel import open_channel

MAX_RESTARTS = 5
WINDOW_SECONDS = 300.0
START_SECONDS = 600.0
_GRACE_BEYOND_DRAIN_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 0.2


class ServiceFailedError(RetrogradeError):
    """A service cannot be kept running; the message carries its last words."""


@dataclass(slots=True)
class _Watched:
    child: Child
    task: asyncio.Task[None] | None = None
    health: asyncio.Task[None] | None = None
    restarts: int = 0
    state: str = "waiting"


@dataclass(slots=True)
class Supervisor:
    """See the module. `addresses` is filled on entry; `failure` ends in an error once a service is given up.

    `tell` hears of restarts, one line each.
    """

    topology: Topology
    port_base: int = 0
    tell: Callable[[str], None] = lambda _: None
    addresses: Mapping[str, str] = field(default_factory=dict)
    failure: asyncio.Future[None] = field(default_factory=asyncio.Future)
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _lock: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _stopping: bool = False
    _state: str = "starting"

    async def __aenter__(self) -> Self:
        self._lock.enter_context(only_one(self.topology.folder))
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Ends all services, last wave first; a wave together."""
        self._stopping = True
        grace = self.topology.drain_seconds + _GRACE_BEYOND_DRAIN_SECONDS
        for wave in reversed(waves_of(self.topology.services)):
            watched = [self._watched[name] for name in wave if name in self._watched]
            for each in watched:
                for task in (each.task, each.health):
                    if task is not None:
                        task.cancel()
            await asyncio.gather(*(each.child.stop(grace) for each in watched))
            for each in watched:
                each.state = "stopped"
        self._write_state("stopped")
        self._lock.close()
        if self.failure.done():
            self.failure.exception()  # whoever leaves has seen it, or left for a better reason

    def kill(self) -> None:
        """Ends all services at once; their work continues from the store the next time."""
        self._stopping = True
        for watched in self._watched.values():
            watched.child.signal(signal.SIGKILL)

    async def _start(self) -> None:
        self._end_left_over()
        self.addresses = self.topology.write(self.port_base)
        self._write_state("starting")
        for wave in waves_of(self.topology.services):
            for name in wave:
                await self._launch(name)
            self._write_state("starting")
            await asyncio.gather(*(self._until_serving(name) for name in wave))
        self._write_state("serving")

    def _end_left_over(self) -> None:
        grace = self.topology.drain_seconds + _GRACE_BEYOND_DRAIN_SECONDS
        for wave in reversed(waves_of(self.topology.services)):
            for name in wave:
                end_left_over(self.topology.config_file(name), grace)

    async def _launch(self, name: str) -> None:
        log = self.topology.folder / "logs" / f"{name}.log"
        child = Child(name, f"services.{name}", self.topology.config_file(name), log)
        watched = self._watched[name] = _Watched(child, state="starting")
        await child.start()
        watched.task = asyncio.create_task(self._watch(watched))
        watched.task.add_done_callback(self._on_watch_ended)

    async def _until_serving(self, name: str) -> None:
        """Raises what made the service fail, or ServiceFailedError when it does not serve in time."""
        serving = asyncio.ensure_future(wait_serving(self.addresses[name], health_service(name), START_SECONDS))
        both: set[asyncio.Future[Any]] = {serving, self.failure}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if self.failure.done():
            serving.cancel()
            self.failure.result()
        if not serving.result():
            words = self._watched[name].child.last_words()
            raise ServiceFailedError(
                f"service {name} is not serving after {START_SECONDS:.0f} s; its log ends:\n{words}"
            )
        self._watched[name].state = "serving"

    async def _watch(self, watched: _Watched) -> None:
        """Starts the service again whenever it ends, until that happens too often."""
        ends: deque[float] = deque()
        while not self._stopping:
            process = watched.child.process
            status = await process.wait() if process else 0
            if self._stopping:
                return
            ends.append(time.monotonic())
            while ends[0] < ends[-1] - WINDOW_SECONDS:
                ends.popleft()
            if status == BAD_INPUT_STATUS or len(ends) > MAX_RESTARTS:
                self._give_up(watched, status, len(ends))
                return
            self.tell(f"{watched.child.name} ended with status {status} and is started again")
            await self._restart(watched, min(0.5 * 2.0 ** (len(ends) - 1), _LONGEST_PAUSE_SECONDS))

    async def _restart(self, watched: _Watched, pause_seconds: float) -> None:
        watched.restarts, watched.state = watched.restarts + 1, "restarting"
        self._write_state()
        await asyncio.sleep(pause_seconds)
        await watched.child.start()
        self._write_state()
        if watched.health is not None:
            watched.health.cancel()
        watched.health = asyncio.create_task(self._mark_serving(watched))

    async def _mark_serving(self, watched: _Watched) -> None:
        name = watched.child.name
        if await wait_serving(self.addresses[name], health_service(name), START_SECONDS):
            watched.state = "serving"
            self._write_state()

    def _on_watch_ended(self, task: asyncio.Task[None]) -> None:
        """A watch that itself fails (no memory to fork, no disk for the log) is a failure, not a silence."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.failure.done():
            self.failure.set_exception(error)

    def _give_up(self, watched: _Watched, status: int, num_ends: int) -> None:
        watched.state = "failed"
        self._write_state("failed")
        words = watched.child.last_words()
        if self.failure.done():
            return
        if status == BAD_INPUT_STATUS:
            self.failure.set_exception(InvalidInputError(f"{watched.child.name}: {_refusal(words)}"))
            return
        times = f"{num_ends} times within {WINDOW_SECONDS:.0f} s" if num_ends > 1 else "once"
        message = f"service {watched.child.name} ended {times}, last with status {status}; {watched.child.log} ends:"
        self.failure.set_exception(ServiceFailedError(f"{message}\n{words}"))

    def _write_state(self, state: str = "") -> None:
        """`supervisor.json`: what `retrograde status` reads; replaced whole. `state` is the new one of the whole."""
        self._state = state or self._state
        own = Identity.of(os.getpid())
        services = {
            name: {
                "state": each.state,
                "restarts": each.restarts,
                "address": self.addresses.get(name, ""),
                "pid": each.child.process.pid if each.child.process else 0,
            }
            for name, each in self._watched.items()
        }
        record = {"pid": os.getpid(), "started": own.started if own else 0, "state": self._state, "services": services}
        path = self.topology.folder / "supervisor.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=2), encoding="utf-8")
        partial.replace(path)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the kernel frees however its holder ends. Raises ConflictError when it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "supervisor.lock").open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError(
                f"{folder}: another retrograde process uses it; wait, or stop it: retrograde down --out {folder}"
            ) from error
        yield


async def wait_serving(address: str, service: str, seconds: float) -> bool:
    """Whether `service` says SERVING at `address` within the time."""
    end = asyncio.get_running_loop().time() + seconds
    async with open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        while asyncio.get_running_loop().time() < end:
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await stub.Check(request, timeout=5.0)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return True
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
    return False


def _refusal(words: str) -> str:
    """The line by which a service refused its settings, or the last line."""
    lines = words.splitlines() or ["refused its settings"]
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), lines[-1])
