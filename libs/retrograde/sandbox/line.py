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


@dataclass(slots=True, eq=False)
class Item:
    """One answer to grade; `deaths` counts workers that ended with it in hand, `false_starts` those before it.

    `spent_seconds` is how long workers that died had it in hand: the next one has the rest of its deadline.
    """

    batch: Batch
    index: int
    message: pb.VerifyItem
    num_bytes: int
    deaths: int = 0
    false_starts: int = 0
    spent_seconds: float = 0.0

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

    items: list[Item]
    grades: list[verdict_pb2.Grade | None]
    num_open: int
    num_bytes: int
    done: asyncio.Future[None]

    @classmethod
    def of(cls, messages: Sequence[pb.VerifyItem]) -> Batch:
        """A batch none of whose items is graded."""
        batch = cls([], [None] * len(messages), len(messages), 0, asyncio.get_running_loop().create_future())
        batch.items = [Item(batch, index, message, message.ByteSize()) for index, message in enumerate(messages)]
        batch.num_bytes = sum(item.num_bytes for item in batch.items)
        return batch


@dataclass(slots=True, eq=False)
class Line:
    """The items that wait, by caller, in the order in which it is the callers' turn."""

    num_waiting: int = 0
    _waiting: dict[Batch, deque[Item]] = field(default_factory=dict)

    def join(self, batch: Batch) -> None:
        """All of `batch` waits now."""
        self._waiting[batch] = deque(batch.items)
        self.num_waiting += len(batch.items)

    def rejoin(self, items: Iterable[Item]) -> None:
        """Puts those of `items` that are still open before what their callers have waiting, in order."""
        for item in reversed([item for item in items if item.is_open]):
            self._waiting.setdefault(item.batch, deque()).appendleft(item)
            self.num_waiting += 1

    def leave(self, batch: Batch) -> None:
        """Takes out what is left of `batch`: its caller waits no more."""
        self.num_waiting -= len(self._waiting.pop(batch, ()))

    def take(self, num_items: int, num_bytes: int) -> list[Item]:
        """Up to `num_items`, one of each batch in turn; one at least, and no more once they have `num_bytes`."""
        taken: list[Item] = []
        while self._waiting and len(taken) < num_items and num_bytes > 0:
            batch = next(iter(self._waiting))
            waiting = self._waiting.pop(batch)
            taken.append(waiting.popleft())
            num_bytes -= taken[-1].num_bytes
            if waiting:
                self._waiting[batch] = waiting
        self.num_waiting -= len(taken)
        return taken
