"""Places in the inference pool, shared by all feeds: who holds fewest is next, then who was served longest ago."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator


class Slots:
    """At most `num_slots` are held at a time."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self.held: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def held_by(self, feed: str) -> AsyncIterator[None]:
        """Waits for a slot of `feed`; held until left."""
        await self._take(feed)
        try:
            yield
        finally:
            self._leave(feed)

    async def _take(self, feed: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(feed, deque()).append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._leave(feed)
            raise

    def _leave(self, feed: str) -> None:
        self.held[feed] -= 1
        self._grant()

    def _grant(self) -> None:
        """Gives out what is free. A feed that was served goes to the end of its equals."""
        while self._lines and self.held.total() < self.num_slots:
            feed = min(self._lines, key=self.held.__getitem__)
            line = self._lines.pop(feed)
            turn = line.popleft()
            if line:
                self._lines[feed] = line
            if not turn.cancelled():
                self.held[feed] += 1
                turn.set_result(None)
