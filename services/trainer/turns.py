"""Who may have the inference pool serve what, when several runs share it.

A stage that needs certain weights holds them while it works. Stages of any runs that need the same weights hold them
together; one that needs others waits until these are let go, in the order of asking, so that nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import NamedTuple


class _Waiter(NamedTuple):
    weights: str
    admitted: asyncio.Future[None]


@dataclass(slots=True)
class PolicyTurns:
    """`weights` are told apart by a name of their content."""

    _weights: str = ""
    _num_holders: int = 0
    _line: deque[_Waiter] = field(default_factory=deque)

    def must_wait(self, weights: str) -> bool:
        """Whether `hold` would not get them at once."""
        return bool(self._line) or not self._fits(weights)

    @contextlib.asynccontextmanager
    async def hold(self, weights: str) -> AsyncIterator[None]:
        """Waits for the turn, which ends with the block."""
        waiter = _Waiter(weights, asyncio.get_running_loop().create_future())
        self._line.append(waiter)
        self._admit()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        try:
            yield
        finally:
            self._let_go()

    def _fits(self, weights: str) -> bool:
        return not self._num_holders or weights == self._weights

    def _admit(self) -> None:
        while self._line and (self._line[0].admitted.cancelled() or self._fits(self._line[0].weights)):
            waiter = self._line.popleft()
            if not waiter.admitted.cancelled():
                self._weights = waiter.weights
                self._num_holders += 1
                waiter.admitted.set_result(None)

    def _give_up(self, waiter: _Waiter) -> None:
        """Leaves the line, or lets go of what it was given in the moment it was cancelled."""
        if not waiter.admitted.cancelled():
            self._let_go()
            return
        if waiter in self._line:
            self._line.remove(waiter)
        self._admit()

    def _let_go(self) -> None:
        self._num_holders -= 1
        self._admit()
