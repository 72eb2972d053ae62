"""Feeds share the places in the inference pool alike."""

from __future__ import annotations

import asyncio

from services.rollouts.slots import Slots


async def hold(slots: Slots, feed: str, order: list[str], release: asyncio.Event) -> None:
    async with slots.held_by(feed):
        order.append(feed)
        await release.wait()


async def test_a_small_feed_gets_its_half_beside_a_large_one() -> None:
    """With eight of `large` waiting before two of `small`, the next free slots are small's until both hold alike."""
    slots, order, release = Slots(4), list[str](), [asyncio.Event() for _ in range(10)]
    names = ["large"] * 8 + ["small"] * 2
    tasks = [asyncio.create_task(hold(slots, *each)) for each in zip(names, [order] * 10, release, strict=True)]
    await asyncio.sleep(0)
    assert order == ["large"] * 4
    for turn in range(3):
        release[turn].set()
        await tasks[turn]
        await asyncio.sleep(0)
    assert order[4:] == ["small", "small", "large"]
    assert slots.held == {"large": 2, "small": 2}
    for event in release:
        event.set()
    await asyncio.gather(*tasks)
    assert slots.held.total() == 0


async def test_who_leaves_the_line_takes_no_slot() -> None:
    """Cancelled while waiting, or in the moment of being served: the slot goes to the next."""
    slots, order, release = Slots(1), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, name, order, release)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["a", "c"]
    assert slots.held.total() == 0
    served = asyncio.create_task(hold(slots, "d", order, release))
    async with slots.held_by("e"):
        await asyncio.sleep(0)
    served.cancel()
    await asyncio.gather(served, return_exceptions=True)
    assert slots.held.total() == 0
