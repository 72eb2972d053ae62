"""Ends a search at its end, or soon after SIGTERM between two of its calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from retrograde.runtime.worker import HandBackError
from services.search.tree_log import Record


async def finish_or_hand_back(run: AsyncGenerator[Record], drain: asyncio.Event, hand_back_seconds: float) -> None:
    """Exhausts `run`. Once `drain` is set, waits for its next record at most `hand_back_seconds`.

    Raises HandBackError when it was stopped before its end; all records it gave are in the log.
    """
    work = asyncio.create_task(_exhaust(run, drain))
    drained = asyncio.create_task(drain.wait())
    try:
        await asyncio.wait({work, drained}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({work}, timeout=hand_back_seconds)
        if not work.done():
            raise HandBackError
        work.result()
    finally:
        drained.cancel()
        work.cancel()
        await asyncio.wait({work})


async def _exhaust(run: AsyncGenerator[Record], drain: asyncio.Event) -> None:
    async with contextlib.aclosing(run) as records:
        async for _ in records:
            if drain.is_set():
                raise HandBackError
