"""The calls of one tree that are being asked at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

from retrograde.core.search import Call
from retrograde.wire.records import Record


class CallsInFlight:
    """Asks calls concurrently with `ask`, which may return None for a call it did not ask; a context manager.

    When it is left, calls that were not answered are cancelled.
    """

    def __init__(self, ask: Callable[[Call], Awaitable[Record | None]]) -> None:
        self._ask = ask
        self._tasks: dict[int, asyncio.Task[Record | None]] = {}
        self._ended: list[int] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, calls: Iterable[Call]) -> None:
        """Asks those that are not being asked yet."""
        for call in calls:
            if call.index not in self._tasks:
                task = self._tasks[call.index] = asyncio.create_task(self._run(call))
                task.add_done_callback(lambda _, index=call.index: self._note(index))  # type: ignore[misc]

    async def _run(self, call: Call) -> Record | None:
        return await self._ask(call)

    def _note(self, index: int) -> None:
        self._ended.append(index)
        self._news.set()

    async def arrived(self) -> list[Record]:
        """What was answered since the last time, in the order of arrival; waits for something.

        Raises what `ask` raised, once the answers that came before it were given.
        """
        await self._news.wait()
        records: list[Record] = []
        while self._ended:
            task = self._tasks[self._ended[0]]
            if records and task.exception() is not None:
                return records
            del self._tasks[self._ended.pop(0)]
            if (record := task.result()) is not None:
                records.append(record)
        self._news.clear()
        return records
