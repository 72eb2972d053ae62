"""A FeedConsumer for callers that are not asynchronous: its event loop has a thread of its own.

Any thread may call, also one that runs an event loop, and one may pull while another acknowledges.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from retrograde.wire.feed_consumer import FeedConsumer

T = TypeVar("T")


class FeedThread:
    """A context manager; `connect` makes the consumer, in the thread. Leaving ends what `soon` began."""

    def __init__(self, connect: Callable[[], FeedConsumer]) -> None:
        self._connect = connect
        self._connected: Future[FeedConsumer] = Future()
        self._thread = threading.Thread(target=self._work, name="feed", daemon=True)
        self._begun: set[Future[Any]] = set()
        self._is_interrupted = False

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.consumer = self._connected.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.interrupt()
        self._loop.call_soon_threadsafe(self._is_left.set)
        self._thread.join()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def soon(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """As `run`, without waiting; `interrupt` cancels it."""
        begun = asyncio.run_coroutine_threadsafe(call, self._loop)
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        if self._is_interrupted:
            begun.cancel()
        return begun

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Calls it in the thread, soon; not once the thread has been left."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *arguments)

    def interrupt(self) -> None:
        """Cancels what `soon` began, and what it begins later."""
        self._is_interrupted = True
        for begun in list(self._begun):
            begun.cancel()

    def _work(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop, self._is_left = asyncio.get_running_loop(), asyncio.Event()
        try:
            consumer = self._connect()
        except Exception as error:  # noqa: BLE001 - it is raised where the thread was begun
            self._connected.set_exception(error)
            return
        async with consumer:
            self._connected.set_result(consumer)
            await self._is_left.wait()
