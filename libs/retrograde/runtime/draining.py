"""Work that ends at its end, or soon after SIGTERM."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from retrograde.runtime.worker import HandBackError

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


async def end_or_hand_back(work: Coroutine[Any, Any, T], drain: asyncio.Event, grace_seconds: float) -> T:
    """What `work` returns; once `drain` is set it has `grace_seconds` left to end, then it is cancelled.

    Raises HandBackError when it was cancelled so, and what `work` raises.
    """
    task = asyncio.create_task(work)
    drained = asyncio.create_task(drain.wait())
    try:
        await asyncio.wait({task, drained}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({task}, timeout=grace_seconds)
        if not task.done():
            raise HandBackError
        return task.result()
    finally:
        drained.cancel()
        task.cancel()
        await asyncio.wait({task, drained})
