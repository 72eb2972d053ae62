"""Blocking calls of async code: the one place that gives them to threads.

    await in_thread(store.get, key)             any thread; several at the same time
    await in_thread_of_its_own(broker.open)     one that is left behind when nobody wants the answer any more
    with OneThread("poll-problems") as thread:  a thread of its own, whose calls run one after the other
        await thread.run(consumer.poll, 0.2)

A simulation replaces the threads for everything begun inside `with calls_made_by(runner)`: the runner is awaited with
each call, decides when it happens and what it raises, and no thread is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import threading
from concurrent.futures import Future
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


async def in_thread_of_its_own(call: Callable[[], T]) -> T:
    """As `in_thread`, for a call that may take long: once this is cancelled nobody waits for it any more."""
    runner = _runner.get()
    if runner is not None:
        result: T = await runner(call)
        return result
    future: Future[T] = Future()
    threading.Thread(target=_make, args=(future, call), daemon=True).start()
    return await asyncio.wrap_future(future)


class OneThread:
    """A thread for calls that must not overlap; leaving waits for the one being made.

    `when_idle` is called in it each time nothing was asked for `idle_seconds`, whatever the event loop is doing.
    """

    def __init__(self, name: str, when_idle: Callable[[], None] | None = None, idle_seconds: float = 1.0) -> None:
        self._when_idle = when_idle
        self._idle_seconds = idle_seconds if when_idle else None
        self._asked: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        if _runner.get() is None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._asked.put(None)
            self._thread.join()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call(*args, **kwargs)` returns or raises."""
        made = functools.partial(call, *args, **kwargs)
        runner = _runner.get()
        if runner is not None:
            result: T = await runner(made)
            return result
        future: Future[T] = Future()
        self._asked.put((future, made))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            try:
                asked = self._asked.get(timeout=self._idle_seconds)
            except queue.Empty:
                if self._when_idle:
                    self._when_idle()
                continue
            if asked is None:
                return
            _make(*asked)


def _make(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - it is raised where the call was asked for
        future.set_exception(error)


@contextlib.contextmanager
def calls_made_by(runner: Callable[[Callable[[], Any]], Awaitable[Any]]) -> Iterator[None]:
    """Inside, and in the tasks begun inside, `runner` makes the calls instead of threads."""
    token = _runner.set(runner)
    try:
        yield
    finally:
        _runner.reset(token)
