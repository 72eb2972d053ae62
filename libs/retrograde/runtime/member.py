"""One member of a consumer group and the one thread that speaks for it.

    turn:  commit what is done -> poll, for as many messages as there is room -> which partitions are held

The loop asks for a turn at least once a second, also when it has no room. When it does not, because something holds the
event loop up, the thread polls by itself, so that no interval is missed; a loop that stands still for longer than
`standstill_seconds` (its messages' deadline, or a minute) will not end its work: then the thread leaves the group,
others take the messages, and the next turn raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.runtime import logs
from retrograde.runtime.blocking import OneThread
from retrograde.runtime.errors import FencedError, RetrogradeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from retrograde.runtime.broker import Broker, Consumer, Message

IDLE_SECONDS = 1.5

_log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn came to."""

    committed: Sequence[Message]
    messages: Sequence[Message]
    held: frozenset[int]


@contextlib.asynccontextmanager
async def joined(broker: Broker, topic: str, group: str, standstill_seconds: float) -> AsyncIterator[Member]:
    """A member of the group, which leaves it in the end even when cancelled while joining."""
    member = Member(topic, standstill_seconds)
    with OneThread(f"consume-{topic}", member.keep_alive, IDLE_SECONDS) as thread:
        member.thread = thread
        joining = asyncio.ensure_future(thread.run(member.join, broker, group))
        try:
            await asyncio.shield(joining)
            yield member
        finally:
            await asyncio.wait({joining})
            await thread.run(member.leave)


class Member:
    """See the module; all methods but `turn` and `commit` belong to the thread."""

    thread: OneThread

    def __init__(self, topic: str, standstill_seconds: float) -> None:
        self._topic = topic
        self._standstill_seconds = standstill_seconds
        self._consumer: Consumer | None = None
        self._polled: list[Message] = []  # and not brought by a turn yet: one that failed after the poll lost nothing
        self._stood_still_seconds = 0.0
        self._asked_at = time.monotonic()

    async def turn(self, done: Sequence[Message], timeout_seconds: float, room: int) -> Turn:
        """See the module. Raises what the broker does: UnavailableError when it is away; no FencedError."""
        return await self.thread.run(self._turn, done, timeout_seconds, room)

    async def commit(self, done: Sequence[Message]) -> None:
        """Commits without a poll, for the end."""
        await self.thread.run(self._commit, done)

    def join(self, broker: Broker, group: str) -> None:
        """Becomes a member."""
        self._consumer = broker.consumer(self._topic, group)
        self._asked_at = time.monotonic()

    def leave(self) -> None:
        """Ends the membership, if it is one."""
        consumer, self._consumer = self._consumer, None
        try:
            if consumer:
                consumer.close()
        except RetrogradeError as error:
            _log.warning("group not left cleanly", topic=self._topic, reason=str(error))

    def keep_alive(self) -> None:
        """For when no turn is asked for."""
        if self._consumer is None:
            return
        silent_seconds = time.monotonic() - self._asked_at
        if silent_seconds > self._standstill_seconds:
            self._stood_still_seconds = silent_seconds
            _log.error("the event loop stands still: group left", topic=self._topic, seconds=round(silent_seconds))
            self.leave()
            return
        try:
            self._consumer.poll(0.0, 0)
        except RetrogradeError as error:
            _log.warning("poll between turns failed", topic=self._topic, reason=str(error))

    def _turn(self, done: Sequence[Message], timeout_seconds: float, room: int) -> Turn:
        consumer = self._membership()
        committed = self._commit(done)
        self._polled += consumer.poll(timeout_seconds, max(0, room - len(self._polled)))
        self._asked_at = time.monotonic()
        held = frozenset(consumer.assignment())
        messages = [message for message in self._polled if message.partition in held]
        self._polled = []
        return Turn(committed, messages, held)

    def _commit(self, done: Sequence[Message]) -> list[Message]:
        """Those committed; a partition that moved is not an error: the assignment tells what became of it."""
        consumer, committed = self._membership(), []
        for message in done:
            try:
                consumer.commit(message)
            except FencedError as error:
                _log.debug("commit fenced", topic=self._topic, reason=str(error))
            else:
                committed.append(message)
        return committed

    def _membership(self) -> Consumer:
        if self._consumer is None:
            raise RetrogradeError(
                f"{self._topic}: the event loop stood still for {self._stood_still_seconds:.0f} s, so its partitions "
                "were given to others; start the process again, and find what blocks its loop"
            )
        return self._consumer
