"""Waiting: a stage for a service that is away, anybody for an event or a time, a cancelled one for what it began."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from retrograde.runtime.errors import OverloadedError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.v1 import run_pb2
from services.trainer.runs import RunRecord

T = TypeVar("T")

_log = get_logger(__name__)
_PAUSE_SECONDS = 2.0


async def patiently(work: Callable[[], Awaitable[T]], state: run_pb2.Stage, record: RunRecord) -> T:
    """What `work` returns; while a service is away or full, waits and does it again."""
    waited_at = -1
    while True:
        try:
            return await work()
        except (UnavailableError, OverloadedError) as error:
            if _is_cancelled():  # what failed was the end of the work
                raise asyncio.CancelledError from error
            _log.warning("a service is away or full; the stage waits", stage=state.name, error=str(error))
            if state.done != waited_at:
                await tell_wait(record, state, str(error))
            waited_at = state.done
            await asyncio.sleep(_PAUSE_SECONDS)


async def tell_wait(record: RunRecord, state: run_pb2.Stage, reason: str) -> None:
    """The history and the stage's line have what it waits for."""
    await record.tell(run_pb2.RunEvent(stage_waits=run_pb2.StageWaits(name=state.name, reason=reason)))
    await record.progress(state, state.done, state.total, f"waiting: {reason}")


async def either(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or the time is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def carried_through(work: Awaitable[T]) -> T:
    """What `work` returns. Cancelled, it ends when the work has: a call that a thread makes cannot be taken back."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
