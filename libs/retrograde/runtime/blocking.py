"""Blocking calls of async code: the one place that gives them to threads.

    await in_thread(store.get, key)             any thread; several at the same time
    with OneThread("poll-problems") as thread:  a thread of its own, whose calls run one after the other
        await thread.run(consumer.poll, 0.2)

A simulation replaces the threads for everything begun inside `with calls_made_by(runner)`: the runner is awaited with
each call, decides when it happens and what it raises, and no thread is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")
P = ParamSpec("P")

_runner: ContextVar[Callable[[Callable[[], Any]], Awaitable[Any]] | None] = ContextVar("runner", default=None)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call(*args, **kwargs)` returns or raises, made in a thread of the loop's default pool."""
    runner = _runner.get()
    if runner is None:
        return await asyncio.to_thread(call, *args, **kwargs)
    result: T = await runner(functools.partial(call, *args, **kwargs))
    return result


class OneThread:
    """A thread for calls that must not overlap; leaving waits for the one being made."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call(*args, **kwargs)` returns or raises."""
        made = functools.partial(call, *args, **kwargs)
        runner = _runner.get()
        if runner is None:
            return await asyncio.get_running_loop().run_in_executor(self._pool, made)
        result: T = await runner(made)
        return result


@contextlib.contextmanager
def calls_made_by(runner: Callable[[Callable[[], Any]], Awaitable[Any]]) -> Iterator[None]:
    """Inside, and in the tasks begun inside, `runner` makes the calls instead of threads."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)
