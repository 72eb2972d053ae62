"""What waits to be graded: batches of callers, one item of each in turn.

So a large batch does not hold up a small one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from services.verifier import metrics


@dataclass(slots=True, eq=False)
class Item:
    """One answer to grade; `deaths` counts workers that ended with it in hand, `false_starts` those before it."""

    batch: Batch
    index: int
    message: pb.VerifyItem
    deaths: int = 0
    false_starts: int = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody still waits for its grade."""
        return self.batch.grades[self.index] is None and not self.batch.done.done()

    def settle(self, grade: verdict_pb2.Grade) -> None:
        """Takes its grade; a second one is ignored."""
        if self.is_open:
            self.batch.grades[self.index] = grade
            self.batch.num_open -= 1
            if not self.batch.num_open:
                self.batch.done.set_result(None)


@dataclass(slots=True, eq=False)
class Batch:
    """One caller's items; `done` is set when all are graded, or fails for all of them."""

    grades: list[verdict_pb2.Grade | None]
    num_open: int
    done: asyncio.Future[None]
    waiting: deque[Item] = field(default_factory=deque)

    @classmethod
    def of(cls, messages: Sequence[pb.VerifyItem]) -> Batch:
        """A batch with all its items waiting."""
        batch = cls([None] * len(messages), len(messages), asyncio.get_running_loop().create_future())
        batch.waiting.extend(Item(batch, index, message) for index, message in enumerate(messages))
        return batch


class Line:
    """The batches that have waiting items."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self.num_waiting = 0

    def join(self, batch: Batch) -> None:
        """All of `batch` waits now."""
        self._batches.append(batch)
        self._count(len(batch.waiting))

    def rejoin(self, items: Iterable[Item]) -> None:
        """Puts those of `items` that are still open before what their callers have waiting, in order."""
        for item in reversed([item for item in items if item.is_open]):
            if not item.batch.waiting:
                self._batches.append(item.batch)
            item.batch.waiting.appendleft(item)
            self._count(1)

    def leave(self, batch: Batch) -> None:
        """Takes out what is left of `batch`: its caller waits no more."""
        if batch.waiting:
            self._count(-len(batch.waiting))
            batch.waiting.clear()
            self._batches.remove(batch)

    def take(self, num_items: int) -> list[Item]:
        """Up to `num_items`, one of each batch in turn."""
        taken: list[Item] = []
        while self._batches and len(taken) < num_items:
            batch = self._batches.popleft()
            taken.append(batch.waiting.popleft())
            if batch.waiting:
                self._batches.append(batch)
        self._count(-len(taken))
        return taken

    def _count(self, change: int) -> None:
        self.num_waiting += change
        metrics.WAITING.set(self.num_waiting)
