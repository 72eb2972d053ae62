"""Blocking calls go to threads, or to whoever replaces them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from retrograde.runtime.blocking import OneThread, calls_made_by, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_calls_leave_the_loop_s_thread() -> None:
    """`in_thread` and `OneThread.run` make the call elsewhere and bring back what it returned."""
    with OneThread("mine") as thread:
        names = [await thread.run(lambda: threading.current_thread().name) for _ in range(3)]
    assert len(set(names)) == 1
    assert names[0].startswith("mine")
    assert await in_thread(lambda given, *, then: (given, then), 1, then=2) == (1, 2)
    assert await in_thread(threading.get_ident) != threading.get_ident()


async def test_the_calls_of_one_thread_do_not_overlap() -> None:
    """Two calls asked for at once are made one after the other."""
    events: list[str] = []

    def call(name: str) -> None:
        events.append(name)
        threading.Event().wait(0.02)
        events.append(name)

    with OneThread("mine") as thread:
        await asyncio.gather(thread.run(call, "a"), thread.run(call, "b"))
    assert events in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


async def test_a_runner_replaces_the_threads_of_all_tasks_begun_inside() -> None:
    """Calls reach the runner instead, from tasks too, and no longer once it was left."""
    made, here = 0, threading.get_ident()

    async def runner(call: Callable[[], Any]) -> Any:
        nonlocal made
        made += 1
        return call()

    with calls_made_by(runner), OneThread("unused") as thread:
        inside = asyncio.create_task(in_thread(threading.get_ident))
        assert (await inside, await thread.run(threading.get_ident)) == (here, here)
    assert await in_thread(threading.get_ident) != here
    assert made == 2
