"""The gate in front of the engine: requests pass it, and a weight swap closes it.

While it is open requests pass at once. `closed()` stops new ones, deals with those inside, lets the swap happen, and
opens again:

    FINISH        waits until the last one inside has left
    CONTINUE      those that may stay do; the others are interrupted
    BEGIN_AGAIN   all are interrupted

Whoever is interrupted comes again, so that none fails because of a swap.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from retrograde.core.policy import InFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class InterruptedBySwapError(Exception):
    """The weights are about to change: come again."""


class Gate:
    """Knows who is inside; can be closed by one at a time."""

    def __init__(self) -> None:
        self.waiting = 0
        self._inside: dict[asyncio.Timeout, bool] = {}  # whether it may stay
        self._open = asyncio.Event()
        self._open.set()
        self._left = asyncio.Event()
        self._closing = asyncio.Lock()

    @property
    def inside(self) -> int:
        """How many have passed and not left."""
        return len(self._inside)

    @contextlib.asynccontextmanager
    async def passing(self, *, may_stay: bool = False) -> AsyncIterator[None]:
        """Waits while the gate is closed; inside until left. Raises InterruptedBySwapError: come again."""
        await self._opened()
        try:
            async with asyncio.timeout(None) as visit:
                self._inside[visit] = may_stay
                try:
                    yield
                finally:
                    del self._inside[visit]
                    self._left.set()
        except TimeoutError:
            if visit.expired():
                raise InterruptedBySwapError from None
            raise

    async def _opened(self) -> None:
        self.waiting += 1
        try:
            while not self._open.is_set():
                await self._open.wait()
        finally:
            self.waiting -= 1

    @contextlib.asynccontextmanager
    async def closed(self, in_flight: InFlight = InFlight.FINISH) -> AsyncIterator[None]:
        """Inside, nobody else is but those who stay; those who come meanwhile wait."""
        async with self._closing:
            self._open.clear()
            try:
                if in_flight is not InFlight.FINISH:
                    self._interrupt(in_flight)
                while self._must_leave(in_flight):
                    self._left.clear()
                    await self._left.wait()
                yield
            finally:
                self._open.set()

    def _interrupt(self, in_flight: InFlight) -> None:
        for visit in self._must_leave(in_flight):
            visit.reschedule(0.0)

    def _must_leave(self, in_flight: InFlight) -> list[asyncio.Timeout]:
        stays = in_flight is InFlight.CONTINUE
        return [visit for visit, may_stay in self._inside.items() if not (stays and may_stay)]
