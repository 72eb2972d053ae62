"""One child seen from outside: sends it a chunk, watches its progress against the clock, kills it.

    outcome = await worker.run(messages, watcher, clock)

The watcher is given grades as they arrive and is asked about the item in hand: whether anybody waits for it, how long
it may take, and, when it has taken longer than `late_seconds`, whether it may go on; the child begins no other then.
`outcome` says how far the child came and how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from retrograde.sandbox.child import ANSWER_HEADER, REQUEST_HEADER
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.nursery import Newborn, Nursery
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb

_POLLS_PER_DEADLINE = 20
_POLLS_PER_LATE = 2
_LATE_NICENESS = 5
_LEAST_PAUSE_SECONDS = 0.001
_STREAM_BYTES = 1 << 24


class Ending(enum.Enum):
    """How a chunk ended."""

    FINISHED = "finished"  # all items are graded, or all up to the limit: the child lives
    TIMED_OUT = "timed_out"  # killed at its deadline
    ABANDONED = "abandoned"  # killed because nobody waits for the item
    DISPLACED = "displaced"  # killed because it was late and no seat for late ones was free
    DIED = "died"  # by itself, or by somebody else's hand


@dataclass(frozen=True, slots=True)
class Outcome:
    """`position` is the item in hand when the child ended, for `seconds`; -1: none of them can be told to be."""

    ending: Ending
    position: int = -1
    seconds: float = 0.0


class Watcher(Protocol):
    """Who gave the chunk. Positions count its items from 0."""

    def on_grades(self, first: int, grades: Sequence[verdict_pb2.Grade]) -> None:
        """Grades of the items from position `first` on."""

    def is_wanted(self, position: int) -> bool:
        """Whether somebody waits for this grade."""

    def seconds_left(self, position: int) -> float:
        """How long the item may be in hand."""

    def on_late(self, position: int) -> bool:
        """The item takes long, and none after it will be begun; whether the child may go on with it."""


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
        self._sent_at = 0.0

    @classmethod
    async def start(cls, nursery: Nursery) -> Worker:
        """A new child. Raises UnavailableError."""
        newborn = await nursery.fork()
        return cls(newborn, nursery, await asyncio.open_connection(sock=newborn.connection, limit=_STREAM_BYTES))

    async def run(self, messages: Sequence[pb.VerifyItem], watcher: Watcher, limits: Limits) -> Outcome:
        """Grades `messages` in order; see the module."""
        self._progress.reset()
        self._sent_at = time.monotonic()
        payload = pb.VerifyRequest(items=messages).SerializeToString()
        self._writer.write(REQUEST_HEADER.pack(len(payload)) + payload)
        reading = asyncio.create_task(self._read_all(watcher))
        try:
            killed = await self._watch(reading, watcher, limits)
            alive = await reading
        finally:
            reading.cancel()
        if alive:
            return Outcome(Ending.FINISHED)
        started, seconds = self._in_hand()
        if killed is None:
            return Outcome(Ending.DIED, started - 1, seconds)
        return killed if killed.position == started - 1 else Outcome(Ending.DIED)

    def _in_hand(self) -> tuple[int, float]:
        """(items begun, seconds since the last of them was; since the chunk was sent if none was)."""
        started = self._progress.started
        since = self._progress.began if started else self._sent_at
        return started, time.monotonic() - since

    async def _watch(self, reading: asyncio.Task[bool], watcher: Watcher, limits: Limits) -> Outcome | None:
        """Returns when `reading` is done, or when the child was killed and why."""
        poll_seconds = min(limits.late_seconds / _POLLS_PER_LATE, limits.deadline_seconds / _POLLS_PER_DEADLINE)
        pause, is_late = poll_seconds, False
        while not (await asyncio.wait({reading}, timeout=pause))[0]:
            started, seconds = self._in_hand()
            position = max(started, 1) - 1
            ending: Ending | None = None
            if not watcher.is_wanted(position):
                ending = Ending.ABANDONED
            elif seconds >= watcher.seconds_left(position):
                ending = Ending.TIMED_OUT
            elif seconds >= limits.late_seconds and not is_late:
                is_late = True
                self._stop_after(position)
                ending = None if watcher.on_late(position) else Ending.DISPLACED
            if ending is not None:
                self.kill()
                return Outcome(ending, started - 1, seconds)
            pause = max(_LEAST_PAUSE_SECONDS, min(poll_seconds, watcher.seconds_left(position) - seconds))
        return None

    def _stop_after(self, position: int) -> None:
        """Lets the child begin no other item, and others go first."""
        self._progress.limit = position + 1
        with contextlib.suppress(OSError):
            niceness = max(os.getpriority(os.PRIO_PROCESS, self.pid), _LATE_NICENESS)
            os.setpriority(os.PRIO_PROCESS, self.pid, niceness)

    async def _read_all(self, watcher: Watcher) -> bool:
        """Reads answers up to the last of the chunk; False if the child ended first."""
        is_last = False
        try:
            while not is_last:
                header = await self._reader.readexactly(ANSWER_HEADER.size)
                first, size, is_last = ANSWER_HEADER.unpack(header)
                grades = pb.VerifyResponse.FromString(await self._reader.readexactly(size)).grades
                watcher.on_grades(first, grades)
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
