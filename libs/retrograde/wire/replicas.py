"""The channels behind one client: names are resolved, failed replicas probed, idle channels of gone ones closed.

    "a:1,b:1"             these two
    "dns:///pool:1"       every address `pool` has; asked again every `resolve_seconds` while the client is open

A replica that fails is put aside by `failed`; a task of its own asks it for its health (grpc.health.v1), with growing
pauses, and takes it back once it serves. A draining replica says that it does not, and is left alone to finish. A
replica that is gone from its name keeps its channel until the last call in flight has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from retrograde.runtime import logs, metrics
from retrograde.runtime.settings import DNS_PREFIX
from retrograde.runtime.tls import Identity
from retrograde.wire.channel import open_channel
from retrograde.wire.routing import Choice, Routes

RESOLVE_SECONDS = 5.0
_PROBE_SECONDS = 5.0

SPILLED = metrics.counter("routing", "spilled_calls_total", "Calls passed on by an overloaded replica")
ASIDE = metrics.gauge("routing", "aside_replicas", "Replicas put aside until they serve again")

_log = logs.get_logger(__name__)

Resolve = Callable[[str], Awaitable[Sequence[str]]]


async def resolve_name(target: str) -> list[str]:
    """Every address of `name:port` now, as host:port. Raises OSError when there is none."""
    name, _, port = target.rpartition(":")
    found = await asyncio.get_running_loop().getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts]


class Replicas:
    """See the module. An async context manager."""

    def __init__(
        self,
        address: str,
        routes: Routes,
        resolve: Resolve = resolve_name,
        resolve_seconds: float = RESOLVE_SECONDS,
        identity: Identity | None = None,
    ) -> None:
        parts = address.split(",")
        self._fixed = [each for each in parts if not each.startswith(DNS_PREFIX)]
        self._names = [each.removeprefix(DNS_PREFIX) for each in parts if each.startswith(DNS_PREFIX)]
        self._resolved: dict[str, Sequence[str]] = {}
        self._routes = routes
        self._resolve = resolve
        self._resolve_seconds = resolve_seconds
        self._identity = identity
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._reasons: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._refresh()
        if self._names:
            self._spawn(self._keep_resolving())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close(None)
        ASIDE.dec(self._routes.num_aside)

    @property
    def addresses(self) -> tuple[str, ...]:
        """All replicas known now."""
        return self._routes.addresses

    def choose(self, key: str, without: Collection[str]) -> Choice | None:
        """See Routes."""
        choice = self._routes.choose(key, without)
        if choice is not None and choice.num_overloaded:
            SPILLED.inc()
        return choice

    @contextlib.contextmanager
    def call(self, address: str, num_samples: int) -> Iterator[grpc.aio.Channel]:
        """The channel to `address`; the samples count as in flight there until left."""
        self._routes.begin(address, num_samples)
        try:
            yield self._channel(address)
        finally:
            self._routes.end(address, num_samples)
            self._close_gone()

    def answered(self, address: str) -> None:
        """See Routes."""
        self._routes.answered(address)

    def failed(self, address: str, reason: str) -> None:
        """Puts `address` aside and sees to it that it is taken back."""
        self._reasons[address] = reason
        if self._routes.put_aside(address):
            ASIDE.inc()
            _log.warning("replica put aside", address=address, reason=reason)
            self._spawn(self._probe(address))

    async def until_changed(self, timeout_seconds: float) -> None:
        """Returns when a replica was taken back or has joined. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            await self._changed.wait()

    def reasons(self) -> str:
        """Each replica with the last error met there."""
        return (
            "; ".join(f"{each}: {self._reasons.get(each, 'no error yet')}" for each in self.addresses) or "no address"
        )

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = open_channel(address, self._identity, self._name_of(address))
        return self._channels[address]

    def _name_of(self, address: str) -> str:
        """The host whose name resolved to `address`; "" for one that was given as it is."""
        names = (name for name, found in self._resolved.items() if address in found)
        return next(names, "").rpartition(":")[0]

    async def _probe(self, address: str) -> None:
        """Until `address` serves again or is gone."""
        while self._routes.is_aside(address):
            await asyncio.sleep(self._routes.pause_seconds(address) * random.uniform(0.5, 1.0))
            serves = self._routes.is_aside(address) and await self._serves(address)
            if serves and self._routes.is_aside(address):
                self._routes.take_back(address)
                ASIDE.dec()
                _log.info("replica taken back", address=address)
                self._tell_changed()
                return
            self._routes.still_away(address)

    async def _serves(self, address: str) -> bool:
        """Whether the replica says so; one that has no health service and says that is there."""
        stub = health_pb2_grpc.HealthStub(self._channel(address))
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._reasons[address] = error.details() or error.code().name.lower()
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def _keep_resolving(self) -> None:
        while True:
            await asyncio.sleep(self._resolve_seconds)
            await self._refresh()

    async def _refresh(self) -> None:
        """Takes over what the names resolve to; one that does not resolve keeps what it had."""
        for name in self._names:
            try:
                self._resolved[name] = await self._resolve(name)
            except OSError as error:
                _log.warning("name not resolved", name=name, reason=error.strerror or str(error))
        before = set(self.addresses)
        num_aside = self._routes.num_aside
        self._routes.replace([*self._fixed, *(each for found in self._resolved.values() for each in found)])
        ASIDE.dec(num_aside - self._routes.num_aside)
        self._close_gone()
        if set(self.addresses) - before:
            self._tell_changed()

    def _close_gone(self) -> None:
        """Closes the channels of replicas that are gone and have no call in flight."""
        gone = self._channels.keys() - set(self.addresses)
        for address in gone:
            if not self._routes.in_flight(address):
                self._reasons.pop(address, None)
                self._spawn(self._channels.pop(address).close(None))

    def _tell_changed(self) -> None:
        """Wakes all who wait now."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
