"""The loop of every queue worker: poll -> handle -> (the handler stored and published) -> commit.

    member      one thread polls and commits, whatever else happens
    ledger      what may be committed: up to the last offset of a partition below which everything is done
    attempts    a message to its end; up to `max_in_flight` handlers run beside each other

A kill at any moment loses nothing: what was not committed is delivered again. The ids in a message's headers
(`tracing`) go on with what its handler causes. A handler that raises

    InvalidInputError      has a bad message: to `<topic>.dlq` at once, byte-identical, with the reason in its headers
    UnavailableError       is without a peer: again, for ever, with back-off; it is not the message's fault
    OverloadedError        has a peer that is full: the same
    HandBackError          stops for the drain: the message is given back uncommitted (again later if there is none)
    anything else          again up to `max_attempts`, then to the dead-letter topic; a missed deadline too

A partition that goes to another member: its handlers are cancelled, nothing of it is committed. Should it come back
before one has ended, the message waits for that. With `max_in_flight` 1 messages of a partition are handled in their
order; with more they begin in it and end in any, those of one key too.

When `drain` is set nothing new is polled, handlers in flight may end, those waiting to try again give back, and the
group is left. A caller that cannot wait cancels `consume`: handlers are cancelled, finished work is still committed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrograde.runtime import logs
from retrograde.runtime.attempts import Attempts, DeadlineExceededError, HandBackError, Outcome
from retrograde.runtime.errors import NotFoundError, RetrogradeError, UnavailableError
from retrograde.runtime.ledger import Delivery, Ledger
from retrograde.runtime.member import joined
from retrograde.runtime.worker_metrics import REDELIVERIES, REVOKED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from retrograde.runtime.broker import Broker, Message
    from retrograde.runtime.member import Member
    from retrograde.runtime.settings import WorkerSettings

__all__ = ["DeadlineExceededError", "HandBackError", "consume", "consume_as_set"]

DEADLINE_SECONDS = 3600.0
_POLL_SECONDS = 0.2
_KEEP_ALIVE_SECONDS = 1.0
_COMMIT_EVERY_SECONDS = 0.1
_FENCED_SECONDS = 5.0
_MIN_STANDSTILL_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 2.0  # while the broker is away
_MAX_IN_HAND = 10_000  # what is done behind a slow message of its partition included

_log = logs.get_logger(__name__)


async def consume(
    broker: Broker,
    topic: str,
    group: str,
    handle: Callable[[Message], Awaitable[None]],
    *,
    drain: asyncio.Event,
    max_in_flight: int = 1,
    max_attempts: int = 3,
    backoff_seconds: float = 1.0,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Handles the messages of `topic` as a member of `group` until `drain` is set; see the module.

    `backoff_seconds` is the first pause after a failure; it doubles up to 30 s, with jitter. `deadline_seconds` is the
    longest an attempt may take.
    """
    attempts = Attempts(broker, topic, handle, drain, max_attempts, backoff_seconds, deadline_seconds)
    standstill_seconds = max(deadline_seconds, _MIN_STANDSTILL_SECONDS)
    while not drain.is_set():
        try:
            async with joined(broker, topic, group, standstill_seconds) as member:
                loop = _Loop(member, attempts, max_in_flight)
                try:
                    await loop.run()
                finally:
                    await loop.close()
        except (UnavailableError, NotFoundError) as error:  # of a topic just made not every broker may know
            await _wait_for_broker(topic, error, attempts)


async def consume_as_set(
    broker: Broker,
    topic: str,
    group: str,
    handle: Callable[[Message, asyncio.Event], Awaitable[None]],
    drain: asyncio.Event,
    settings: WorkerSettings,
) -> None:
    """`consume` as a service's settings say; `handle` is given `drain` too, to hand its message back."""
    await consume(
        broker,
        topic,
        group,
        lambda message: handle(message, drain),
        drain=drain,
        max_in_flight=settings.max_trees,
        max_attempts=settings.max_attempts,
        backoff_seconds=settings.backoff_seconds,
        deadline_seconds=settings.deadline_seconds,
    )


@dataclass
class _Loop:
    """Turns of the member, tasks of the handlers, and the ledger between them."""

    member: Member
    attempts: Attempts
    max_in_flight: int
    ledger: Ledger = field(default_factory=Ledger)
    tasks: dict[asyncio.Task[Outcome], Message] = field(default_factory=dict)
    leaving: dict[tuple[int, int], asyncio.Task[Outcome]] = field(default_factory=dict)
    fenced_since: dict[int, float] = field(default_factory=dict)
    committed_at: float = 0.0

    async def run(self) -> None:
        """Until drained and every handler has ended."""
        drain = self.attempts.drain
        while self.tasks or not drain.is_set():
            try:
                await self._step(0 if drain.is_set() else self._room())
            except UnavailableError as error:
                await _wait_for_broker(self.attempts.topic, error, self.attempts)

    async def close(self) -> None:
        """Ends the handlers that still run and commits what is done."""
        for task in self.tasks:
            task.cancel()
        while self.tasks:
            await self._settled(None)
        try:
            await self.member.commit(self.ledger.committable())
        except RetrogradeError as error:
            _log.warning("finished work not committed", topic=self.attempts.topic, reason=str(error))

    def _room(self) -> int:
        room = self.max_in_flight - len(self.tasks)
        return max(0, min(room, _MAX_IN_HAND - len(self.ledger)))

    async def _step(self, room: int) -> None:
        due = self._due()
        turn = await self.member.turn(due, _POLL_SECONDS if room else 0.0, room)
        self._note_commits(due, turn.committed)
        for partition in self.ledger.partitions - turn.held:
            self._let_go(partition)
        for message in turn.messages:
            self._begin(message)
        await self._settled(0.0 if len(turn.messages) < room else _KEEP_ALIVE_SECONDS)

    def _due(self) -> Sequence[Message]:
        """What to commit now: all there is, but not more often than ten times a second while there is work."""
        now = asyncio.get_running_loop().time()
        if self.tasks and now - self.committed_at < _COMMIT_EVERY_SECONDS:
            return ()
        self.committed_at = now
        return self.ledger.committable()

    def _note_commits(self, due: Sequence[Message], committed: Sequence[Message]) -> None:
        """A commit that stays fenced although the partition is held: another member had it, and committed it."""
        now = asyncio.get_running_loop().time()
        taken = {message.partition for message in committed}
        for message in due:
            is_taken = message.partition in taken
            since = now if is_taken else self.fenced_since.setdefault(message.partition, now)
            if is_taken or now - since > _FENCED_SECONDS:
                self.ledger.committed(message)
                self.fenced_since.pop(message.partition, None)

    def _begin(self, message: Message) -> None:
        delivery = self.ledger.begin(message)
        if delivery is not Delivery.FIRST:
            REDELIVERIES.labels(message.topic).inc()
        if delivery is not Delivery.IN_HAND:
            before = self.leaving.get((message.partition, message.offset))
            self.tasks[asyncio.create_task(self._settle(message, before))] = message

    async def _settle(self, message: Message, before: asyncio.Task[Outcome] | None) -> Outcome:
        """Not before an earlier handling of the same message, which was cancelled, has really ended."""
        if before:
            await asyncio.wait({before})
        return await self.attempts.settle(message)

    def _let_go(self, partition: int) -> None:
        """Another member has it: what was done is not ours to commit, what is being done is its to do."""
        REVOKED.labels(self.attempts.topic).inc()
        _log.info("partition lost", topic=self.attempts.topic, partition=partition)
        self.ledger.forget(partition)
        self.fenced_since.pop(partition, None)
        for task, message in self.tasks.items():
            if message.partition == partition:
                task.cancel()
                self.leaving.setdefault((partition, message.offset), task)

    async def _settled(self, timeout_seconds: float | None) -> None:
        """Waits for a handler to end, and takes note of all that did."""
        if not self.tasks:
            await asyncio.sleep(timeout_seconds or 0.0)
            return
        done, _ = await asyncio.wait(self.tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            message = self.tasks.pop(task)
            place = (message.partition, message.offset)
            if self.leaving.get(place) is task:
                del self.leaving[place]
            elif not task.cancelled() and task.result() is not Outcome.GIVEN_BACK:
                self.ledger.done(message)


async def _wait_for_broker(topic: str, error: RetrogradeError, attempts: Attempts) -> None:
    _log.warning("broker unavailable", topic=topic, reason=str(error))
    await asyncio.sleep(min(attempts.backoff_seconds, _LONGEST_PAUSE_SECONDS))
