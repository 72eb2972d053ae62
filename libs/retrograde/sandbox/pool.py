"""Workers for what waits in line.

    async with Pool(limits) as pool:
        grades = await pool.verify(messages)

There are two lanes of seats. A run takes a chunk from the line of the first lane and keeps its seat until it ends or is
late at an item. Late, it moves to a seat of the second lane if one is free and nobody waits for it; otherwise its
worker is killed and the item waits for such a seat, where it begins again. So the first lane is never held up, and the
second one by nothing but what is late. A worker that was late or killed is not used again: the next one is a fork away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from retrograde.runtime.errors import InvalidInputError, OverloadedError, UnavailableError
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.line import Batch, Item, Line
from retrograde.sandbox.nursery import Nursery
from retrograde.sandbox.run import Run
from retrograde.sandbox.worker import Ending, Outcome, Worker
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb

_CHUNK_BYTES = 1 << 20  # an item that is longer goes alone

OnEnd = Callable[[Outcome], None]


@dataclass(slots=True, eq=False)
class _Lane:
    """Seats, and what waits for one."""

    num_free: int
    line: Line = field(default_factory=Line)


class Pool:
    """`async with Pool(limits) as pool`: its workers live as long. `on_end` hears of workers ended out of turn."""

    def __init__(self, limits: Limits, on_end: OnEnd | None = None) -> None:
        self._limits = limits
        self._on_end = on_end
        self.nursery = Nursery(limits)
        self.workers: set[Worker] = set()
        self.num_bytes = 0
        self._idle: list[Worker] = []
        self._runs: set[asyncio.Task[None]] = set()
        self._quick = _Lane(limits.num_workers)
        self._late = _Lane(limits.num_late_workers)
        self._is_closing = False

    async def __aenter__(self) -> Self:
        await self.nursery.__aenter__()
        self._idle = [await self._start_worker() for _ in range(self._limits.num_workers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_closing = True
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        for worker in list(self.workers):
            await self._end_worker(worker)
        await self.nursery.__aexit__(kind, error, traceback)

    @property
    def num_waiting(self) -> int:
        """Items in line."""
        return self._quick.line.num_waiting + self._late.line.num_waiting

    async def verify(self, messages: Sequence[pb.VerifyItem]) -> list[verdict_pb2.Grade]:
        """One grade per item, in order; when cancelled, its items are given up at once.

        Raises:
            InvalidInputError: more bytes than the pool ever takes.
            OverloadedError: too much waits already.
            UnavailableError: no grading process can be started.
        """
        if not messages:
            return []
        batch = Batch.of(messages)
        self._check_room(batch)
        self.num_bytes += batch.num_bytes
        self._quick.line.join(batch)
        self._seat_runs()
        try:
            await batch.done
        finally:
            self.num_bytes -= batch.num_bytes
            self._quick.line.leave(batch)
            self._late.line.leave(batch)
        return [grade for grade in batch.grades if grade is not None]

    def _check_room(self, batch: Batch) -> None:
        limits = self._limits
        if len(batch.items) > limits.max_queued_items or batch.num_bytes > limits.max_queued_bytes:
            raise InvalidInputError(
                f"items: {len(batch.items)} items of {batch.num_bytes} bytes in one request; send at most "
                f"{limits.max_queued_items} items of {limits.max_queued_bytes} bytes, or raise max_queued_items or "
                "max_queued_bytes"
            )
        if self.num_waiting + len(batch.items) > limits.max_queued_items:
            raise OverloadedError(
                f"{self.num_waiting} items wait, {len(batch.items)} more pass the limit of "
                f"{limits.max_queued_items}; try again later or raise max_queued_items"
            )
        if self.num_bytes + batch.num_bytes > limits.max_queued_bytes:
            raise OverloadedError(
                f"requests of {self.num_bytes} bytes are being answered, {batch.num_bytes} more pass the limit of "
                f"{limits.max_queued_bytes}; try again later or raise max_queued_bytes"
            )

    def _seat_runs(self) -> None:
        """Starts a run for each free seat for which something waits."""
        quick, late = self._quick, self._late
        if self._is_closing:
            return
        while quick.num_free and quick.line.num_waiting:
            share = -(-quick.line.num_waiting // self._limits.num_workers)
            self._seat_run(quick, quick.line.take(min(share, self._limits.chunk_items), _CHUNK_BYTES))
        while late.num_free and late.line.num_waiting:
            self._seat_run(late, late.line.take(1, _CHUNK_BYTES))

    def _seat_run(self, lane: _Lane, chunk: list[Item]) -> None:
        lane.num_free -= 1
        run = asyncio.create_task(self._run(chunk, _Seat(self, lane)))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _run(self, chunk: list[Item], seat: _Seat) -> None:
        try:
            worker = self._idle.pop() if self._idle else await self._start_worker()
        except UnavailableError as error:
            _fail(chunk, error)
        else:
            await self._run_on(worker, Run(chunk, seat, self._limits))
        finally:
            seat.leave()

    async def _run_on(self, worker: Worker, run: Run) -> None:
        keep = False
        try:
            outcome = await run.on(worker)
            keep = outcome.ending is Ending.FINISHED and not run.is_late
            if outcome.ending is not Ending.FINISHED and self._on_end is not None:
                self._on_end(outcome)
        finally:
            if keep:
                self._idle.append(worker)
            else:
                await self._end_worker(worker)

    async def _start_worker(self) -> Worker:
        worker = await Worker.start(self.nursery)
        self.workers.add(worker)
        return worker

    async def _end_worker(self, worker: Worker) -> None:
        self.workers.discard(worker)
        await worker.close()

    def hand_back(self, items: Iterable[Item]) -> None:
        """The items that are still open wait for a seat of the first lane."""
        self._quick.line.rejoin(items)
        self._seat_runs()

    def hand_over(self, item: Item) -> None:
        """The item waits for a seat of the second lane."""
        self._late.line.rejoin([item])

    def late_seat(self, lane: _Lane) -> _Lane | None:
        """The second lane, with a seat of it taken for that of `lane`; None if none is free for it."""
        if lane is self._late:
            return lane
        if not self._late.num_free or self._late.line.num_waiting:
            return None
        self._late.num_free -= 1
        self.free_seat(lane)
        return self._late

    def free_seat(self, lane: _Lane) -> None:
        """A seat is free again."""
        lane.num_free += 1
        self._seat_runs()


class _Seat:
    """The seat of one run, in the lane where it is now."""

    def __init__(self, pool: Pool, lane: _Lane) -> None:
        self._pool = pool
        self._lane = lane

    def hand_back(self, items: Iterable[Item]) -> None:
        self._pool.hand_back(items)

    def hand_over(self, item: Item) -> None:
        self._pool.hand_over(item)

    def become_late(self) -> bool:
        lane = self._pool.late_seat(self._lane)
        self._lane = lane or self._lane
        return lane is not None

    def leave(self) -> None:
        self._pool.free_seat(self._lane)


def _fail(chunk: Sequence[Item], error: UnavailableError) -> None:
    for item in chunk:
        if not item.batch.done.done():
            item.batch.done.set_exception(error)
