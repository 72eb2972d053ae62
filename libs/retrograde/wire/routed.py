"""A client of several replicas: one that is away costs a call nothing but another try elsewhere.

    choose by key -> call -> answered
                       ├── UNAVAILABLE, ended from the other side: put it aside, next in the key's order
                       ├── FAILED_PRECONDITION, RESOURCE_EXHAUSTED: next in the key's order, maybe newer or emptier
                       └── any other error: the caller's
    all put aside: wait until one is back, at most `patience_seconds`; all refuse: the last refusal

Every call ends within `deadline_seconds`, however often it is tried. Every RPC behind this client is safe to repeat.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import grpc

from retrograde.runtime import metrics
from retrograde.runtime.errors import RetrogradeError, UnavailableError
from retrograde.wire.channel import domain_error, metadata, patiently
from retrograde.wire.replicas import RESOLVE_SECONDS, Replicas, Resolve, resolve_name
from retrograde.wire.routing import Routes, Spill

T = TypeVar("T")

Method = Callable[[grpc.aio.Channel], Callable[..., Awaitable[T]]]
"""From a channel to the RPC on it."""

RETRIED = metrics.counter("routing", "retried_calls_total", "Calls sent again to another replica")

_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
_REFUSED = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED}


class RoutedClient:
    """Base of the typed clients of a replicated service: an async context manager around its replicas.

    `address` is host:port, several with commas between, or dns:///name:port, which stands for all its addresses.
    """

    def __init__(
        self,
        address: str,
        *,
        patience_seconds: float = 300.0,
        deadline_seconds: float = 600.0,
        spill: Spill | None = None,
        resolve: Resolve = resolve_name,
        resolve_seconds: float = RESOLVE_SECONDS,
    ) -> None:
        self.address = address
        self._patience = patience_seconds
        self._deadline = deadline_seconds
        self._replicas = Replicas(address, Routes(spill), resolve, resolve_seconds)

    async def __aenter__(self) -> Self:
        await self._replicas.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._replicas.__aexit__(kind, error, trace)

    @property
    def num_replicas(self) -> int:
        """Replicas known now, those put aside too."""
        return len(self._replicas.addresses)

    async def _route(self, method: Method[T], request: object, key: str, num_samples: int = 1) -> T:
        """The reply of one replica, the first in the order of `key` that gives one."""
        clock = asyncio.get_running_loop().time
        ends = give_up = clock() + self._deadline
        ids = metadata()
        refusals: dict[str, grpc.aio.AioRpcError] = {}
        while True:
            choice = self._replicas.choose(key, refusals)
            if choice is None:
                give_up = min(give_up, clock() + self._patience)
                await self._until_usable(refusals, give_up - clock())
                continue
            try:
                with self._replicas.call(choice.address, num_samples) as channel:
                    reply = await method(channel)(request, timeout=ends - clock(), metadata=ids)
            except grpc.aio.AioRpcError as error:
                self._note(choice.address, error, refusals)
                give_up = min(give_up, clock() + self._patience)
            else:
                self._replicas.answered(choice.address)
                return reply

    def _note(self, address: str, error: grpc.aio.AioRpcError, refusals: dict[str, grpc.aio.AioRpcError]) -> None:
        """Takes note of a failure after which others may be asked; raises any other."""
        if error.code() in _AWAY:
            self._replicas.failed(address, error.details() or error.code().name.lower())
        elif error.code() in _REFUSED:
            refusals[address] = error
        else:
            raise domain_error(error) from error
        RETRIED.inc()

    async def _until_usable(self, refusals: dict[str, grpc.aio.AioRpcError], timeout_seconds: float) -> None:
        """Waits for a replica to come (back). Raises the last refusal if any, or UnavailableError in the end."""
        if refusals:
            *_, last = refusals.values()
            raise domain_error(last) from last
        try:
            await self._replicas.until_changed(timeout_seconds)
        except TimeoutError as error:
            raise UnavailableError(f"no replica of {self.address} answers: {self._replicas.reasons()}") from error

    async def _call_all(self, method: Method[T], request: object) -> dict[str, T]:
        """The replies of all replicas, by address; each is waited for as one service is.

        Raises the error of one that failed, in the end, naming all that did.
        """
        if not self._replicas.addresses:
            await self._until_usable({}, self._patience)
        ids, addresses = metadata(), self._replicas.addresses
        calls = (self._call_one(method, request, address, ids) for address in addresses)
        results = await asyncio.gather(*calls, return_exceptions=True)
        replies: dict[str, T] = {}
        failures: dict[str, RetrogradeError] = {}
        for address, result in zip(addresses, results, strict=True):
            if isinstance(result, RetrogradeError):
                failures[address] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                replies[address] = result
        if failures:
            raise _failure_of(failures, replies)
        return replies

    async def _call_one(self, method: Method[T], request: object, address: str, ids: tuple[tuple[str, str], ...]) -> T:
        with self._replicas.call(address, 1) as channel:
            attempt = functools.partial(method(channel), request, timeout=self._deadline, metadata=ids)
            return await patiently(attempt, self._patience)


def _failure_of(failures: dict[str, RetrogradeError], replies: Mapping[str, object]) -> RetrogradeError:
    """One error for all of them, of the class of the first; the error itself where there is one replica."""
    first, *_ = failures.values()
    if len(failures) + len(replies) == 1:
        return first
    failed = "; ".join(f"{address}: {error}" for address, error in failures.items())
    done = ", ".join(replies) or "none"
    return type(first)(f"replicas failed, call again: {failed}; done by: {done}")
