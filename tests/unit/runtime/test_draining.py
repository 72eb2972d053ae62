"""Work that ends, or hands back soon after the drain."""

from __future__ import annotations

import asyncio

import pytest

from retrograde.runtime.draining import end_or_hand_back
from retrograde.runtime.worker import HandBackError


async def after(seconds: float, log: list[str]) -> str:
    """Says in `log` whether it ended or was cancelled."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    log.append("ended")
    return "result"


async def test_undrained_work_ends_in_its_own_time() -> None:
    """Without a drain the work's result is returned however long it takes."""
    log: list[str] = []
    assert await end_or_hand_back(after(0.2, log), asyncio.Event(), grace_seconds=0) == "result"
    assert log == ["ended"]


async def test_short_work_ends_within_the_grace() -> None:
    """Work that ends within the grace after the drain returns its result."""
    log: list[str] = []
    drain = asyncio.Event()
    drain.set()
    assert await end_or_hand_back(after(0.05, log), drain, grace_seconds=10) == "result"
    assert log == ["ended"]


async def test_long_work_is_cancelled_and_handed_back() -> None:
    """Work that outlasts the grace is cancelled, and HandBackError raised after it has ended."""
    log: list[str] = []
    drain = asyncio.Event()
    drain.set()
    with pytest.raises(HandBackError):
        await end_or_hand_back(after(60, log), drain, grace_seconds=0.05)
    assert log == ["cancelled"]


async def test_what_the_work_raises_is_raised() -> None:
    """An error of the work is the caller's."""

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await end_or_hand_back(fails(), asyncio.Event(), grace_seconds=0)
