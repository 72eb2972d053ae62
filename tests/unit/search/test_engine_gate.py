"""The engine's batch is kept full and not flooded, and trees begun first end first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrograde.runtime.errors import UnavailableError
from services.search import metrics
from services.search.engine_gate import OLDEST_EVERY, EngineGate, Load, fitting_target, follow_engine


class Line:
    """Calls at a gate, known by name: `inside` holds those let in, `leave` ends one."""

    def __init__(self, gate: EngineGate) -> None:
        self.gate = gate
        self.inside: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, tree: int, num_samples: int = 1, priority: int = 0) -> None:
        self._ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._stay(name, tree, num_samples, priority))
        await turns()

    async def _stay(self, name: str, tree: int, num_samples: int, priority: int) -> None:
        async with self.gate.inside(tree, num_samples, priority):
            self.inside.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.inside.remove(name)

    async def leave(self, name: str) -> None:
        self._ends[name].set()
        await turns()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_samples_in_flight_stay_within_the_target() -> None:
    """Of three calls of 8 samples two fit into 16; the third comes when one has left."""
    line = Line(EngineGate(16))
    for name in "abc":
        await line.come(name, 0, 8)
    assert (line.inside, line.gate.samples_in_flight) == (["a", "b"], 16)
    assert metrics.CALLS_WAITING._value.get() == 1
    await line.leave("a")
    assert line.inside == ["b", "c"]
    assert metrics.CALLS_WAITING._value.get() == 0


async def test_tree_begun_first_goes_first_and_its_calls_in_their_order() -> None:
    """Whoever came first to the gate, the older tree's calls are let in before the younger's."""
    line = Line(EngineGate(1))
    for name, tree in (("now", 9), ("young1", 5), ("old1", 2), ("young2", 5), ("old2", 2)):
        await line.come(name, tree)
    order = []
    while line.inside:
        order.append(line.inside[0])
        await line.leave(line.inside[0])
    assert order == ["now", "old1", "old2", "young1", "young2"]


async def test_higher_priority_goes_first_whatever_its_age() -> None:
    """A young tree of priority 1 is let in before an old one of 0, and that before one of -1."""
    line = Line(EngineGate(1))
    for name, tree, priority in (("now", 0, 0), ("low", 1, -1), ("old", 2, 0), ("urgent", 3, 1)):
        await line.come(name, tree, priority=priority)
    order = []
    while line.inside:
        order.append(line.inside[0])
        await line.leave(line.inside[0])
    assert order == ["now", "urgent", "old", "low"]


async def test_low_priority_waits_for_a_bounded_number_of_others() -> None:
    """However many calls of priority 1 keep coming, one of 0 is let in as the OLDEST_EVERY-th at the latest."""
    line = Line(EngineGate(1))
    await line.come("now", 0)
    await line.come("low", 1)
    num_before = 0
    while line.inside != ["low"]:
        await line.come(f"urgent{num_before}", 2, priority=1)
        await line.leave(line.inside[0])
        num_before += 1
        assert num_before <= OLDEST_EVERY
    assert num_before == OLDEST_EVERY


async def test_call_bigger_than_the_room_goes_alone() -> None:
    """It waits for an empty engine, small calls behind it wait their turn, and it is never stuck."""
    line = Line(EngineGate(4))
    await line.come("small", 0, 2)
    await line.come("huge", 1, 100)
    await line.come("late", 2, 1)
    assert line.inside == ["small"]
    await line.leave("small")
    assert line.inside == ["huge"]
    await line.leave("huge")
    assert line.inside == ["late"]


async def test_cancelled_call_gives_its_place_away() -> None:
    """Cancelled while it waits, inside, or in the very turn in which it is let in: the others go on."""
    line = Line(EngineGate(1))
    for tree, name in enumerate("abcd"):
        await line.come(name, tree)
    line.tasks["b"].cancel()
    await turns()
    line._ends["a"].set()
    await asyncio.sleep(0)
    assert not line.tasks["c"].done()
    assert line.inside == []
    assert line.gate.samples_in_flight == 1
    line.tasks["c"].cancel()  # let in by a's leaving, and not yet awake
    await turns()
    assert line.tasks["c"].cancelled()
    assert line.inside == ["d"]
    line.tasks["d"].cancel()
    await turns()
    assert line.gate.samples_in_flight == 0


async def test_larger_target_lets_calls_in_at_once() -> None:
    """Nobody waits for somebody else to leave when the engine turns out to be larger."""
    line = Line(EngineGate(1))
    for name in "abc":
        await line.come(name, 0)
    line.gate.resize(3)
    await turns()
    assert line.inside == ["a", "b", "c"]


def test_caller_alone_takes_what_the_engine_has_room_for() -> None:
    """Its own samples are all there is, fewer than wanted: the target is the whole of it."""
    assert fitting_target(100.0, Load(256, 60, 0), 1.5) == 384.0


@given(parts=st.lists(st.floats(200, 384), min_size=2, max_size=8))
def test_callers_that_share_an_engine_settle_at_the_sum_that_is_wanted(parts: list[float]) -> None:
    """Those that together asked too much together ask 1.5 times the batch after one look."""
    load = Load(256, 256, round(sum(parts)) - 256)
    assert sum(fitting_target(part, load, 1.5) for part in parts) == pytest.approx(384.0, rel=0.01)


class SlowToAnswer:
    """Raises once, then tells its load, then sets `drain`."""

    def __init__(self, drain: asyncio.Event) -> None:
        self.answers: list[Callable[[], Awaitable[Load]]] = [self._away, self._loaded]
        self.drain = drain

    async def load(self) -> Load:
        return await self.answers.pop(0)()

    async def _away(self) -> Load:
        raise UnavailableError("starting")

    async def _loaded(self) -> Load:
        self.drain.set()
        return Load(64, 10, 0)


async def test_gate_follows_the_engine() -> None:
    """While the engine is away the gate keeps its size; then it fits the batch that the engine tells."""
    gate, drain = EngineGate(384), asyncio.Event()
    await follow_engine(gate, SlowToAnswer(drain), 1.5, 0.001, drain)
    assert gate.target == pytest.approx(96.0)
