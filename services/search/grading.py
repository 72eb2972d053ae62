"""Many small questions to the verifier become few large ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence

from retrograde.core.policy import Verifier
from retrograde.core.problem import Grade, Problem
from retrograde.runtime import spans, tracing
from retrograde.runtime.tracing import Trace

Item = tuple[Problem, str]


class _Batch:
    """Items on their way to one call; `full` ends the wait for more."""

    def __init__(self, send: Callable[[_Batch], Coroutine[None, None, list[Grade]]]) -> None:
        self.items: list[Item] = []
        self.causes: list[Trace] = []
        self.full = asyncio.Event()
        self.grades = asyncio.create_task(send(self))


class GradeBatcher:
    """A `Verifier` that gathers the items of concurrent callers for up to `wait_seconds`, or until `max_items`.

    A failed call fails each caller that took part in it. A caller that is cancelled takes its items' grades with it and
    disturbs nobody. In traces the call belongs to the first caller, with links to the others.
    """

    def __init__(self, verifier: Verifier, max_items: int, wait_seconds: float) -> None:
        self._verifier = verifier
        self._max_items = max_items
        self._wait_seconds = wait_seconds
        self._open: _Batch | None = None

    async def verify(self, items: Sequence[Item]) -> list[Grade]:
        """One grade per item, in order."""
        if not items:
            return []
        batch = self._join(items)
        first = len(batch.items) - len(items)
        grades = await asyncio.shield(batch.grades)
        return grades[first : first + len(items)]

    def _join(self, items: Sequence[Item]) -> _Batch:
        batch = self._open
        if batch is None:
            batch = self._open = _Batch(self._send)
        batch.items.extend(items)
        batch.causes.append(tracing.current())
        if len(batch.items) >= self._max_items:
            self._open = None
            batch.full.set()
        return batch

    async def _send(self, batch: _Batch) -> list[Grade]:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(batch.full.wait(), self._wait_seconds)
        if self._open is batch:
            self._open = None
        with spans.record("grade", about={"retrograde.num_items": len(batch.items)}, links=batch.causes[1:]):
            return await self._verifier.verify(batch.items)
