"""The engine's batch stays full and is not flooded: calls wait here until there is room for their samples.

Samples in flight, over all trees of the process, are kept at `fill` times the engine's sequences. Whose turn it is: the
tree of the highest priority; of those the tree begun first, so that trees end; of one tree the call started first. And
every OLDEST_EVERY-th time whoever has waited longest, so that nobody waits for ever. A call bigger than the room goes
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from retrograde.runtime.errors import RetrogradeError
from retrograde.runtime.logs import get_logger
from services.search import metrics

_MODEL_SECONDS = 5.0  # how long the engine may take to describe itself
_LEAST_SHARE = 1 / 16
_log = get_logger(__name__)

OLDEST_EVERY = 16
"""One in so many calls is let in because it has waited longest, whatever its tree's priority."""


class _Turn(NamedTuple):
    """A call that waits; the smallest is next, and `number` grows with each."""

    rank: int  # the tree's priority, negated
    tree: int
    number: int
    num_samples: int
    has_come: asyncio.Future[None]


class EngineGate:
    """Lets calls through while fewer than `target` samples are in flight."""

    def __init__(self, target: float) -> None:
        self.samples_in_flight = 0
        self._waiting: list[_Turn] = []
        self._numbers = itertools.count()
        self._num_let_in = 0  # of those that had to wait
        self.resize(target)

    @property
    def target(self) -> float:
        """Samples that may be in flight."""
        return self._target

    def resize(self, target: float) -> None:
        """Changes the room; calls inside stay."""
        self._target = target
        metrics.SAMPLES_TARGET.set(target)
        self._let_in()

    @contextlib.asynccontextmanager
    async def inside(self, tree: int, num_samples: int, priority: int = 0) -> AsyncIterator[None]:
        """Entered when it is the call's turn; trees of higher priority, then those of lower numbers go first."""
        await self._enter(tree, num_samples, priority)
        try:
            yield
        finally:
            self._leave(num_samples)

    async def _enter(self, tree: int, num_samples: int, priority: int) -> None:
        if not self._waiting and self._has_room(num_samples):
            self._count(num_samples)
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, _Turn(-priority, tree, next(self._numbers), num_samples, turn))
        self._let_in()
        metrics.CALLS_WAITING.inc()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was let in and goes without a question
                self._leave(num_samples)
            else:
                self._let_in()
            raise
        finally:
            metrics.CALLS_WAITING.dec()

    def _has_room(self, num_samples: int) -> bool:
        return not self.samples_in_flight or self.samples_in_flight + num_samples <= self._target

    def _count(self, num_samples: int) -> None:
        self.samples_in_flight += num_samples
        metrics.SAMPLES_IN_FLIGHT.set(self.samples_in_flight)

    def _leave(self, num_samples: int) -> None:
        self._count(-num_samples)
        self._let_in()

    def _let_in(self) -> None:
        while (turn := self._next()) is not None and self._has_room(turn.num_samples):
            self._count(turn.num_samples)
            self._num_let_in += 1
            turn.has_come.set_result(None)

    def _next(self) -> _Turn | None:
        """Whose turn it is; None when nobody waits. Turns that came, or were given up, leave from the front only."""
        while self._waiting and self._waiting[0].has_come.done():
            heapq.heappop(self._waiting)
        if not self._waiting:
            return None
        if (self._num_let_in + 1) % OLDEST_EVERY:
            return self._waiting[0]
        return min((turn for turn in self._waiting if not turn.has_come.done()), key=lambda turn: turn.number)


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine says of itself: sequences it batches at most (0: it does not say), runs now, keeps waiting."""

    max_num_seqs: int
    num_running: int
    num_waiting: int


class Loaded(Protocol):
    """Whoever knows the engine's load."""

    async def load(self) -> Load:
        """The load now."""


def fitting_target(target: float, load: Load, fill: float) -> float:
    """The next target of one of several callers that share an engine.

    All of them together should have `fill` times the engine's sequences there. Each scales its own part by how far the
    sum is from that, so that callers that see too much give way in proportion, and one that is alone takes it all.
    """
    wanted = fill * load.max_num_seqs
    seen = max(1, load.num_running + load.num_waiting)
    return min(wanted, max(_LEAST_SHARE * wanted, target * wanted / seen))


async def follow_engine(
    gate: EngineGate, engine: Loaded, fill: float, every_seconds: float, drain: asyncio.Event
) -> None:
    """Fits the gate to the engine until drained; while it does not answer, the gate stays as it is."""
    while not drain.is_set():
        try:
            load = await asyncio.wait_for(engine.load(), _MODEL_SECONDS)
        except (RetrogradeError, TimeoutError) as error:
            _log.debug("engine's load unknown", reason=str(error))
        else:
            if load.max_num_seqs:
                gate.resize(fitting_target(gate.target, load, fill))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(drain.wait(), every_seconds)
