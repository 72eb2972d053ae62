"""A channel that shows the certificate or token its process has now: once files change, the next call opens another."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from retrograde.runtime.tls import Identity, Shown

_RETIRED_SECONDS = 365 * 86400.0


class RotatingChannel(grpc.aio.Channel):
    """One address, through what `open_` makes of the files. Calls that run when they change end where they began."""

    def __init__(self, open_: Callable[[Shown], grpc.aio.Channel], identity: Identity) -> None:
        self._open = open_
        self._identity = identity
        self._shown = identity.current()
        self._channel = open_(self._shown)
        self._retired: dict[asyncio.Task[None], grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """As any channel, those included that still have calls."""
        for task in (retired := dict(self._retired)):
            task.cancel()
        await asyncio.gather(*retired, return_exceptions=True)
        await asyncio.gather(*(channel.close(grace) for channel in (self._channel, *retired.values())))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 - gRPC's
        """Of the newest."""
        return self._current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the newest."""
        await self._current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the newest."""
        await self._current().channel_ready()

    def _method(self, kind: str, *method: Any, **codec: Any) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            channel = self._current()
            headers = {"metadata": (*(options.pop("metadata", None) or ()), *self._headers())}
            return getattr(channel, kind)(*method, **codec)(*args, **options, **headers)

        return call

    unary_unary = functools.partialmethod(_method, "unary_unary")
    unary_stream = functools.partialmethod(_method, "unary_stream")
    stream_unary = functools.partialmethod(_method, "stream_unary")
    stream_stream = functools.partialmethod(_method, "stream_stream")

    def _headers(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._shown.token}"),) if self._shown.token else ()

    def _current(self) -> grpc.aio.Channel:
        shown = self._identity.current()
        if shown is not self._shown:
            task = asyncio.create_task(self._channel.close(_RETIRED_SECONDS))  # once its last call has ended
            self._retired[task] = self._channel
            task.add_done_callback(self._retired.pop)
            self._shown, self._channel = shown, self._open(shown)
        return self._channel
