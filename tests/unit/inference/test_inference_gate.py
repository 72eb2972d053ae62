from __future__ import annotations

import asyncio

import pytest

from retrograde.core.policy import InFlight
from services.inference.gate import Gate, InterruptedBySwapError


async def _turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_closing_waits_for_those_inside() -> None:
    """The gate is closed only after the last one inside has left."""
    gate, order, leave = Gate(), [], asyncio.Event()

    async def inside() -> None:
        async with gate.passing():
            await leave.wait()
            order.append("left")

    async def close() -> None:
        async with gate.closed():
            order.append("closed")

    tasks = [asyncio.create_task(inside()), asyncio.create_task(inside())]
    await _turns()
    tasks.append(asyncio.create_task(close()))
    await _turns()
    assert order == []
    leave.set()
    await asyncio.gather(*tasks)
    assert order == ["left", "left", "closed"]


async def test_those_who_come_to_a_closed_gate_wait_and_then_pass() -> None:
    """While closed nobody passes and the waiting are counted; opening lets all of them through."""
    gate, passed = Gate(), []

    async def come(number: int) -> None:
        async with gate.passing():
            passed.append(number)

    async with gate.closed():
        tasks = [asyncio.create_task(come(number)) for number in range(3)]
        await _turns()
        assert (gate.waiting, gate.inside, passed) == (3, 0, [])
    await asyncio.gather(*tasks)
    assert (gate.waiting, gate.inside, passed) == (0, 0, [0, 1, 2])


async def test_one_who_gives_up_waiting_leaves_no_trace() -> None:
    """A cancelled visitor is not counted, and the next closing does not wait for it."""
    gate = Gate()

    async def come() -> None:
        async with gate.passing():
            raise AssertionError

    async with gate.closed():
        task = asyncio.create_task(come())
        await _turns()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert gate.waiting == 0
    async with asyncio.timeout(1), gate.closed():
        assert gate.inside == 0


async def test_two_closings_take_turns() -> None:
    """A second closing begins after the first has ended."""
    gate, depth, deepest = Gate(), 0, 0

    async def close() -> None:
        nonlocal depth, deepest
        async with gate.closed():
            depth += 1
            deepest = max(deepest, depth)
            await _turns()
            depth -= 1

    await asyncio.gather(close(), close(), close())
    assert deepest == 1


@pytest.mark.parametrize(
    ("in_flight", "outcomes"),
    [
        (InFlight.FINISH, {"may stay": "left", "may not": "left"}),
        (InFlight.CONTINUE, {"may stay": "stays", "may not": "interrupted"}),
        (InFlight.BEGIN_AGAIN, {"may stay": "interrupted", "may not": "interrupted"}),
    ],
)
async def test_those_inside_leave_stay_or_are_interrupted(in_flight: InFlight, outcomes: dict[str, str]) -> None:
    """When the gate is closed each visitor has done what the way of closing asks of it."""
    gate, seen = Gate(), {}

    async def visit(name: str, *, may_stay: bool) -> None:
        seen[name] = "stays"
        try:
            async with gate.passing(may_stay=may_stay):
                await _turns(20)
            seen[name] = "left"
        except InterruptedBySwapError:
            seen[name] = "interrupted"

    tasks = [asyncio.create_task(visit(name, may_stay=name == "may stay")) for name in outcomes]
    await _turns()
    async with gate.closed(in_flight):
        assert seen == outcomes
    await asyncio.gather(*tasks)
    assert gate.inside == 0


async def test_a_timeout_of_a_visitor_is_its_own() -> None:
    """A TimeoutError raised inside is not taken for an interruption."""
    gate = Gate()
    with pytest.raises(TimeoutError, match="of its own"):
        async with gate.passing():
            raise TimeoutError("of its own")


async def test_a_visitor_cancelled_at_an_interruption_is_cancelled() -> None:
    """Cancelled from outside and interrupted at once, it does not come again."""
    gate = Gate()
    task = asyncio.create_task(_visit_for_ever(gate))
    await _turns()
    task.cancel()
    async with gate.closed(InFlight.BEGIN_AGAIN):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def _visit_for_ever(gate: Gate) -> None:
    async with gate.passing():
        await asyncio.Event().wait()
