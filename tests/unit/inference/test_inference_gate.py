from __future__ import annotations

import asyncio

from services.inference.gate import Gate


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
