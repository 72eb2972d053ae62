"""One child seen from outside: sends it a chunk, watches its progress against the clock, kills it.

    outcome = await worker.run(items, on_grades=..., on_late=...)

`on_grades(first, grades)` is called as grades arrive. When one item takes longer than `late_seconds`, the child is told
to begin no other and `on_late(position)` is called, once. `outcome` says how far it came and how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from services.verifier.child import ANSWER_HEADER, REQUEST_HEADER
from services.verifier.nursery import Newborn, Nursery
from services.verifier.progress import NO_LIMIT

OnGrades = Callable[[int, Sequence[verdict_pb2.Grade]], None]
_POLLS_PER_DEADLINE = 20
_LATE_NICENESS = 5


class Ending(enum.Enum):
    """How a chunk ended."""

    FINISHED = "finished"  # all items are graded, or all up to the limit: the child lives
    TIMED_OUT = "timed_out"  # killed at its deadline
    DIED = "died"  # by itself, or by somebody else's hand


@dataclass(frozen=True, slots=True)
class Outcome:
    """`position` is the item in hand when the child ended; -1: none of them can be told to be."""

    ending: Ending
    position: int = -1


@dataclass(frozen=True, slots=True)
class Clock:
    """How long an item may take."""

    deadline_seconds: float
    late_seconds: float

    @property
    def poll_seconds(self) -> float:
        """How often a busy child is looked at; a kill is late by this at most."""
        return min(self.late_seconds, self.deadline_seconds / _POLLS_PER_DEADLINE)


class Worker:
    """A child and the streams to it."""

    def __init__(
        self, newborn: Newborn, nursery: Nursery, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self.pid = newborn.pid
        self._newborn = newborn
        self._progress = newborn.progress
        self._nursery = nursery
        self._reader, self._writer = streams

    @classmethod
    async def start(cls, nursery: Nursery) -> Worker:
        """A new child. Raises UnavailableError."""
        newborn = await nursery.fork()
        return cls(newborn, nursery, await asyncio.open_connection(sock=newborn.connection, limit=1 << 24))

    async def run(
        self,
        items: Sequence[pb.VerifyItem],
        clock: Clock,
        on_grades: OnGrades,
        on_late: Callable[[int], None],
    ) -> Outcome:
        """Grades `items` in order; see the module."""
        self._progress.started, self._progress.limit = 0, NO_LIMIT
        payload = pb.VerifyRequest(items=items).SerializeToString()
        self._writer.write(REQUEST_HEADER.pack(len(payload)) + payload)
        reading = asyncio.create_task(self._read_all(on_grades))
        try:
            stuck_at = await self._watch(reading, clock, on_late)
            alive = await reading
        finally:
            reading.cancel()
        if alive:
            return Outcome(Ending.FINISHED)
        position = self._progress.started - 1
        if stuck_at is None:
            return Outcome(Ending.DIED, position)
        return Outcome(Ending.TIMED_OUT, position) if position == stuck_at else Outcome(Ending.DIED)

    async def _watch(self, reading: asyncio.Task[bool], clock: Clock, on_late: Callable[[int], None]) -> int | None:
        """Returns when `reading` is done; the position at which the child was killed, if it was."""
        now = asyncio.get_running_loop().time
        seen, since, is_late = 0, now(), False
        while not (await asyncio.wait({reading}, timeout=clock.poll_seconds))[0]:
            started = self._progress.started
            if started != seen:
                seen, since = started, now()
            elapsed = now() - since
            if elapsed >= clock.deadline_seconds:
                self.kill()
                return seen - 1
            if elapsed >= clock.late_seconds and not is_late:
                is_late = True
                self._stop_after(seen)
                on_late(max(seen, 1) - 1)
        return None

    def _stop_after(self, started: int) -> None:
        """Lets the child begin no other item, and others go first."""
        self._progress.limit = max(started, 1)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, _LATE_NICENESS)

    async def _read_all(self, on_grades: OnGrades) -> bool:
        """Reads answers up to the last of the chunk; False if the child ended first."""
        is_last = False
        try:
            while not is_last:
                header = await self._reader.readexactly(ANSWER_HEADER.size)
                first, size, is_last = ANSWER_HEADER.unpack(header)
                on_grades(first, pb.VerifyResponse.FromString(await self._reader.readexactly(size)).grades)
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        return True

    def kill(self) -> None:
        """Ends the child at once, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Ends the child and forgets it."""
        self.kill()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        self._progress.close()
        self._nursery.reap(self._newborn)
