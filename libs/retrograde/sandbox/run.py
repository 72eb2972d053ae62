"""One chunk on one worker: each item ends graded, back in line, or failed with its caller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from retrograde.core.problem import Grade, Verdict
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.line import Item
from retrograde.sandbox.worker import Ending, Outcome, Worker
from retrograde.v1 import verdict_pb2
from retrograde.wire.convert import grade_to_proto

MAX_DEATHS = 3  # of workers with the item in hand
MAX_FALSE_STARTS = 5  # of workers that ended before they began the item


class Seat(Protocol):
    """Where a run sits."""

    def hand_back(self, items: Iterable[Item]) -> None:
        """Those of `items` that are still open wait again, first in their caller's line."""

    def hand_over(self, item: Item) -> None:
        """The item waits for a seat for late ones, if it is still open."""

    def become_late(self) -> bool:
        """Whether the run sits in a seat for late ones now."""


class Run:
    """`outcome = await Run(chunk, seat, limits).on(worker)`."""

    def __init__(self, chunk: Sequence[Item], seat: Seat, limits: Limits) -> None:
        self._chunk = chunk
        self._seat = seat
        self._limits = limits
        self._in_hand = chunk
        self.is_late = False

    async def on(self, worker: Worker) -> Outcome:
        """Runs to its end."""
        outcome = await worker.run([item.message for item in self._chunk], self, self._limits)
        if outcome.ending is not Ending.FINISHED:
            self._settle(outcome)
        return outcome

    def on_grades(self, first: int, grades: Sequence[verdict_pb2.Grade]) -> None:
        """Callers get what is graded."""
        for item, grade in zip(self._chunk[first:], grades, strict=False):
            item.settle(grade)

    def is_wanted(self, position: int) -> bool:
        """Until the caller has all its grades, or has left."""
        return not self._chunk[position].batch.done.done()

    def seconds_left(self, position: int) -> float:
        """The deadline, less what workers that died have used of it."""
        return self._limits.deadline_seconds - self._chunk[position].spent_seconds

    def on_late(self, position: int) -> bool:
        """Gives back all but the item in hand, also what is graded but not yet sent."""
        self.is_late = True
        self._in_hand = self._chunk[position : position + 1]
        self._seat.hand_back([*self._chunk[:position], *self._chunk[position + 1 :]])
        return self._seat.become_late()

    def _settle(self, outcome: Outcome) -> None:
        """A verdict for the item a worker ended at, if that is told, and back in line with what is open."""
        guilty = self._chunk[outcome.position] if outcome.position >= 0 else None
        if outcome.ending is Ending.DISPLACED:
            for item in self._in_hand:
                self._seat.hand_over(item)
            return
        if outcome.ending is not Ending.ABANDONED:
            self._blame(guilty, outcome)
        self._seat.hand_back(self._in_hand)

    def _blame(self, guilty: Item | None, outcome: Outcome) -> None:
        if guilty is None or guilty not in self._in_hand:
            _count_false_start(self._in_hand)
        elif outcome.ending is Ending.TIMED_OUT:
            reason = f"no verdict within {self._limits.deadline_seconds:g} s"
            guilty.settle(_verdict(Verdict.TIMEOUT, reason, "deadline"))
        else:
            guilty.spent_seconds += outcome.seconds
            _count_death(guilty)


def _count_death(item: Item) -> None:
    item.deaths += 1
    if item.deaths >= MAX_DEATHS:
        item.settle(_verdict(Verdict.ERROR, f"{item.deaths} grading processes died of it", "died"))


def _count_false_start(chunk: Sequence[Item]) -> None:
    for item in chunk:
        item.false_starts += 1
        if item.false_starts >= MAX_FALSE_STARTS:
            item.settle(_verdict(Verdict.ERROR, f"{item.false_starts} grading processes died before it", "died"))


def _verdict(verdict: Verdict, reason: str, path: str) -> verdict_pb2.Grade:
    return grade_to_proto(Grade(verdict, reason, path=path))
