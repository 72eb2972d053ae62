"""Workers for what waits in line, and verdicts for what a worker could not survive.

    grades = await pool.verify(items)

A worker has a seat while it runs a chunk. Late at an item, it gives the rest of its chunk back at once and, while fewer
than `num_late_workers` are late, its seat too. Killed at the deadline: the item is a TIMEOUT. Dead by itself: the item
is tried on another worker, then it is an ERROR. A late worker is not used again: the next one is a fork away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from retrograde.core.problem import Grade, Verdict
from retrograde.runtime.errors import OverloadedError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.convert import grade_to_proto
from services.verifier import metrics
from services.verifier.line import Batch, Item, Line
from services.verifier.nursery import Nursery
from services.verifier.settings import VerifierSettings
from services.verifier.worker import Clock, Ending, Worker

MAX_DEATHS = 2  # of workers with the item in hand
MAX_FALSE_STARTS = 5  # of workers that ended before they began the item
_log = get_logger(__name__)


class Pool:
    """`async with Pool(settings) as pool`: the workers live as long as it."""

    def __init__(self, settings: VerifierSettings) -> None:
        self._settings = settings
        self._clock = Clock(settings.deadline_seconds, settings.late_seconds)
        self.nursery = Nursery(settings.tasks, settings.memory_bytes)
        self._line = Line()
        self.workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._runs: set[asyncio.Task[None]] = set()
        self._num_seats = settings.num_workers
        self._num_late_seats = settings.num_late_workers

    async def __aenter__(self) -> Self:
        await self.nursery.__aenter__()
        self._idle = [await self._start_worker() for _ in range(self._settings.num_workers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        for worker in list(self.workers):
            await self._end_worker(worker)
        await self.nursery.__aexit__(kind, error, traceback)

    async def verify(self, messages: Sequence[pb.VerifyItem]) -> list[verdict_pb2.Grade]:
        """One grade per item, in order. Raises OverloadedError, UnavailableError."""
        if not messages:
            return []
        if self._line.num_waiting + len(messages) > self._settings.max_queued_items:
            raise OverloadedError(
                f"{self._line.num_waiting} items wait, {len(messages)} more pass the limit of "
                f"{self._settings.max_queued_items}; try again later or raise max_queued_items"
            )
        batch = Batch.of(messages)
        self._line.join(batch)
        self._seat_runs()
        try:
            await batch.done
        finally:
            self._line.leave(batch)
        return [grade for grade in batch.grades if grade is not None]

    def _seat_runs(self) -> None:
        """Starts a run for each free seat while something waits; each takes an equal share of it."""
        while self._num_seats and self._line.num_waiting:
            self._num_seats -= 1
            share = -(-self._line.num_waiting // self._settings.num_workers)
            run = asyncio.create_task(self._run(self._line.take(min(share, self._settings.chunk_items))))
            self._runs.add(run)
            run.add_done_callback(self._runs.discard)

    async def _run(self, chunk: list[Item]) -> None:
        """Grades `chunk` on one worker; each item ends graded, back in line, or failed with its caller."""
        seat = _Seat(self)
        try:
            worker = self._idle.pop() if self._idle else await self._start_worker()
        except UnavailableError as error:
            _fail(chunk, error)
        else:
            await self._run_on(worker, chunk, seat)
        finally:
            seat.leave()

    async def _run_on(self, worker: Worker, chunk: list[Item], seat: _Seat) -> None:
        in_hand = chunk

        def on_grades(first: int, grades: Sequence[verdict_pb2.Grade]) -> None:
            for item, grade in zip(chunk[first:], grades, strict=False):
                item.settle(grade)

        def on_late(position: int) -> None:
            nonlocal in_hand
            in_hand = [chunk[position]]
            self._line.rejoin(chunk[:position] + chunk[position + 1 :])  # also what is graded but not yet sent
            seat.give_up()

        keep = False
        try:
            outcome = await worker.run([item.message for item in chunk], self._clock, on_grades, on_late)
            if outcome.ending is not Ending.FINISHED:
                guilty = chunk[outcome.position] if outcome.position >= 0 else None
                self._settle(in_hand, guilty, outcome.ending)
            keep = outcome.ending is Ending.FINISHED and in_hand is chunk
        finally:
            if keep:
                self._idle.append(worker)
            else:
                await self._end_worker(worker)

    def _settle(self, in_hand: list[Item], guilty: Item | None, ending: Ending) -> None:
        """A verdict for the item a worker ended at, if that is told, and back in line with what is open."""
        metrics.ENDS.labels(reason=ending.value).inc()
        _log.warning("worker ended", reason=ending.value)
        if guilty not in in_hand:
            _count_false_start(in_hand)
        elif ending is Ending.TIMED_OUT:
            guilty.settle(_verdict(Verdict.TIMEOUT, f"no verdict within {self._settings.deadline_seconds:g} s"))
        else:
            _count_death(guilty)
        self._line.rejoin(in_hand)

    async def _start_worker(self) -> Worker:
        worker = await Worker.start(self.nursery)
        self.workers.add(worker)
        metrics.WORKERS.set(len(self.workers))
        return worker

    async def _end_worker(self, worker: Worker) -> None:
        self.workers.discard(worker)
        metrics.WORKERS.set(len(self.workers))
        await worker.close()

    def exchange_seat(self) -> bool:
        """Takes a late seat for an ordinary one, if there is one."""
        if not self._num_late_seats:
            return False
        self._num_late_seats -= 1
        self._num_seats += 1
        self._seat_runs()
        return True

    def free_seat(self, *, is_late: bool) -> None:
        """A run has ended."""
        if is_late:
            self._num_late_seats += 1
        else:
            self._num_seats += 1
        self._seat_runs()


class _Seat:
    """The seat of one run, ordinary until given up for a late one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._is_late = False

    def give_up(self) -> None:
        self._is_late = self._is_late or self._pool.exchange_seat()

    def leave(self) -> None:
        self._pool.free_seat(is_late=self._is_late)


def _count_death(item: Item) -> None:
    item.deaths += 1
    if item.deaths >= MAX_DEATHS:
        item.settle(_verdict(Verdict.ERROR, f"{item.deaths} grading processes died of it"))


def _count_false_start(chunk: Sequence[Item]) -> None:
    for item in chunk:
        item.false_starts += 1
        if item.false_starts >= MAX_FALSE_STARTS:
            item.settle(_verdict(Verdict.ERROR, f"{item.false_starts} grading processes died before it"))


def _fail(chunk: Sequence[Item], error: UnavailableError) -> None:
    for item in chunk:
        if not item.batch.done.done():
            item.batch.done.set_exception(error)


def _verdict(verdict: Verdict, reason: str) -> verdict_pb2.Grade:
    return grade_to_proto(Grade(verdict, reason))
