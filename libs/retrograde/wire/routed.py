"""A client of several replicas: one that is away costs a call nothing but another try elsewhere.

    choose by key -> call -> answered
                       ├── UNAVAILABLE, ended from the other side: put it aside, next in the key's order
                       ├── FAILED_PRECONDITION, RESOURCE_EXHAUSTED: next in the key's order, maybe newer or emptier
                       └── any other error: the caller's
    all put aside: wait until one is back, `patience_seconds` from the first wait on
    all refuse: wait as one of them asks and ask all again, for as long; where none says when: the last refusal

Every call ends within `deadline_seconds`, however often it is tried. Every RPC behind this client is safe to repeat.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc
from google.protobuf.message import Message

from retrograde.runtime import metrics
from retrograde.runtime.errors import RetrogradeError, UnavailableError
from retrograde.runtime.tls import Identity
from retrograde.wire.channel import AWAY, asked_pause, domain_error, metadata, patiently, recorded
from retrograde.wire.replicas import RESOLVE_SECONDS, Replicas, Resolve, resolve_name
from retrograde.wire.routing import Routes, Spill

T = TypeVar("T")

Method = Callable[[grpc.aio.Channel], Callable[..., Awaitable[T]]]
"""From a channel to the RPC on it."""

Ids = tuple[tuple[str, str], ...]

RETRIED = metrics.counter("routing", "retried_calls_total", "Calls sent again to another replica")

_REFUSED = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED}


class RoutedClient:
    """Base of the typed clients of a replicated service: an async context manager around its replicas.

    `address` is host:port, several with commas between, or dns:///name:port, which stands for all its addresses.
    With `identity` connections are encrypted; each replica's certificate must be for its host, or the name it is of.
    """

    def __init__(
        self,
        address: str,
        *,
        identity: Identity | None = None,
        patience_seconds: float = 300.0,
        deadline_seconds: float = 600.0,
        spill: Spill | None = None,
        resolve: Resolve = resolve_name,
        resolve_seconds: float = RESOLVE_SECONDS,
    ) -> None:
        self.address = address
        self._patience = patience_seconds
        self._deadline = deadline_seconds
        self._replicas = Replicas(address, Routes(spill), resolve, resolve_seconds, identity)
        self._is_open = False

    async def __aenter__(self) -> Self:
        await self._replicas.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._replicas.__aexit__(kind, error, trace)

    @property
    def num_replicas(self) -> int:
        """Replicas known now, those put aside too."""
        return len(self._replicas.addresses)

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError(
                f"the client of {self.address} is not open; use it as `async with {type(self).__name__}(...)`"
            )

    async def _route(self, method: Method[T], request: Message, key: str, num_samples: int = 1) -> T:
        """The reply of one replica, the first in the order of `key` that gives one."""
        self._check_open()
        with recorded(request):
            return await self._first_reply(method, request, key, num_samples)

    async def _first_reply(self, method: Method[T], request: Message, key: str, num_samples: int) -> T:
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
            else:
                self._replicas.answered(choice.address)
                return reply

    def _note(self, address: str, error: grpc.aio.AioRpcError, refusals: dict[str, grpc.aio.AioRpcError]) -> None:
        """Takes note of a failure after which others may be asked; raises any other."""
        if error.code() in AWAY:
            self._replicas.failed(address, error.details() or error.code().name.lower())
        elif error.code() in _REFUSED:
            refusals[address] = error
        else:
            raise domain_error(error) from error
        RETRIED.inc()

    async def _until_usable(self, refusals: dict[str, grpc.aio.AioRpcError], timeout_seconds: float) -> None:
        """Waits for a replica to come (back) or to take calls. Raises the last refusal, or UnavailableError."""
        if refusals:
            await _wait_as_asked(tuple(refusals.values()), timeout_seconds)
            refusals.clear()
            return
        try:
            await self._replicas.until_changed(timeout_seconds)
        except TimeoutError as error:
            raise UnavailableError(f"no replica of {self.address} answers: {self._replicas.reasons()}") from error

    async def _call_all(self, method: Method[T], request: Message) -> dict[str, T]:
        """The replies of all replicas, by address, those included that join meanwhile; one that leaves is let go.

        Each is waited for as one service is. Raises what one of them failed with in the end, naming all that did.
        """
        self._check_open()
        with recorded(request):
            return await self._all_replies(method, request)

    async def _all_replies(self, method: Method[T], request: Message) -> dict[str, T]:
        ids = metadata()
        replies: dict[str, T] = {}
        while not replies or set(self._replicas.addresses) - replies.keys():
            if not self._replicas.addresses:
                await self._until_usable({}, self._patience)
            replies |= await self._call_each(method, request, set(self._replicas.addresses) - replies.keys(), ids)
        return replies

    async def _call_each(self, method: Method[T], request: Message, addresses: set[str], ids: Ids) -> dict[str, T]:
        asked = sorted(addresses)
        calls = (self._call_one(method, request, address, ids) for address in asked)
        results = dict(zip(asked, await asyncio.gather(*calls, return_exceptions=True), strict=True))
        failures = {address: result for address, result in results.items() if isinstance(result, BaseException)}
        replies = {
            address: result
            for address, result in results.items()
            if result is not None and not isinstance(result, BaseException)
        }
        if failures:
            raise _failure_of(failures, replies)
        return replies

    async def _call_one(self, method: Method[T], request: Message, address: str, ids: Ids) -> T | None:
        """The reply of this replica; None when it is gone, so that nobody asks it any more."""
        with self._replicas.call(address, 1) as channel:
            call = functools.partial(method(channel), request, timeout=self._deadline, metadata=ids)

            async def attempt() -> T | None:
                return await call() if address in self._replicas.addresses else None

            return await patiently(attempt, self._patience)


async def _wait_as_asked(refusals: Sequence[grpc.aio.AioRpcError], timeout_seconds: float) -> None:
    """Waits until the first of them takes calls. Raises the last where none says when, or too late."""
    pauses = (asked_pause(refusal) for refusal in refusals)
    wait = min((pause for pause in pauses if pause is not None), default=math.inf)
    if wait > timeout_seconds:
        raise domain_error(refusals[-1]) from refusals[-1]
    await asyncio.sleep(wait)


def _failure_of(failures: Mapping[str, BaseException], replies: Mapping[str, object]) -> BaseException:
    """One error for all of them, of the class of the first; the error itself where there is one replica."""
    first, *_ = failures.values()
    if len(failures) + len(replies) == 1 or not isinstance(first, RetrogradeError):
        return first
    failed = "; ".join(f"{address}: {error}" for address, error in failures.items())
    done = ", ".join(replies) or "none"
    return type(first)(f"replicas failed, call again: {failed}; done by: {done}")
