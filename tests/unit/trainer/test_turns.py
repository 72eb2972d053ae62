"""Runs share the served policy: the same weights together, others in the order of asking."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from services.trainer.turns import PolicyTurns


class Stage:
    """Holds `weights` until it is let go."""

    def __init__(self, turns: PolicyTurns, weights: str) -> None:
        self._go = asyncio.Event()
        self.works = False
        self.task = asyncio.create_task(self._run(turns, weights))

    async def _run(self, turns: PolicyTurns, weights: str) -> None:
        async with turns.hold(weights):
            self.works = True
            await self._go.wait()
        self.works = False

    async def end(self) -> None:
        self._go.set()
        await self.task

    async def cancel(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def at_work(*stages: Stage) -> list[bool]:
    for _ in range(10):
        await asyncio.sleep(0)
    return [stage.works for stage in stages]


async def test_the_same_weights_are_held_together_and_others_wait() -> None:
    """Two stages that need one base work at the same time; a third with other weights after both."""
    turns = PolicyTurns()
    one, two, other = Stage(turns, "base"), Stage(turns, "base"), Stage(turns, "tuned")
    assert await at_work(one, two, other) == [True, True, False]
    await one.end()
    assert await at_work(two, other) == [True, False]
    await two.end()
    assert await at_work(other) == [True]
    await other.end()
    assert not turns.must_wait("anything")


async def test_nobody_overtakes_one_who_waits() -> None:
    """A stage whose weights are served queues behind one that waits for others, and works after it."""
    turns = PolicyTurns()
    first, other, late = Stage(turns, "base"), Stage(turns, "tuned"), Stage(turns, "base")
    assert await at_work(first, other, late) == [True, False, False]
    await first.end()
    assert await at_work(other, late) == [True, False]
    await other.end()
    assert await at_work(late) == [True]
    await late.end()


async def test_a_cancelled_stage_gives_up_its_place() -> None:
    """One that waits leaves the line, one that works lets go: the others go on."""
    turns = PolicyTurns()
    first, waits, last = Stage(turns, "a"), Stage(turns, "b"), Stage(turns, "a")
    await at_work()
    await waits.cancel()
    assert await at_work(first, last) == [True, True]
    await first.cancel()
    await last.cancel()
    assert not turns.must_wait("c")


async def test_one_cancelled_in_the_moment_of_its_turn_lets_go() -> None:
    """The turn was given and not yet taken: it goes to the next."""
    turns = PolicyTurns()
    first, second, third = Stage(turns, "a"), Stage(turns, "b"), Stage(turns, "c")
    await at_work()
    first._go.set()
    await asyncio.sleep(0)  # `first` has left and `second` not run since
    await second.cancel()
    assert await at_work(first, second, third) == [False, False, True]
    await third.end()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_stages_cancelled_together_end_as_cancelled(order: tuple[int, ...]) -> None:
    """One that works and two in line, in whatever order: no other error, and nothing is held afterwards."""
    turns = PolicyTurns()
    stages = [Stage(turns, "a"), Stage(turns, "b"), Stage(turns, "a")]
    assert await at_work(*stages) == [True, False, False]
    for i in order:
        stages[i].task.cancel()
    await asyncio.wait({stage.task for stage in stages}, timeout=60)
    assert [stage.task.cancelled() for stage in stages] == [True] * 3
    assert not turns.must_wait("c")
