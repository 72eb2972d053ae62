"""The loop of every queue worker: poll -> handle -> (the handler stored and published) -> commit.

One task polls and commits, through one thread, as a broker's consumer asks; up to `max_in_flight` handlers run beside
it. A partition is committed up to its last offset below which everything is done, so a kill at any moment loses
nothing: what was not committed is delivered again. The ids in a message's headers (`tracing`) go on with what its
handler causes. A handler that raises

    InvalidInputError      has a bad message: to `<topic>.dlq` at once, byte-identical, with the reason in its headers
    UnavailableError       is without a peer: again, for ever, with back-off; it is not the message's fault
    OverloadedError        has a peer that is full: the same
    HandBackError          stops for the drain: the message is given back uncommitted (again later if there is none)
    anything else          again up to `max_attempts`, then to the dead-letter topic

When `drain` is set nothing new is polled, handlers in flight may end, those waiting to try again give back, and the
group is left. A caller that cannot wait cancels `consume`: handlers are cancelled, finished work is still committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrograde.runtime import logs, metrics, tracing
from retrograde.runtime.blocking import OneThread, in_thread
from retrograde.runtime.broker import DLQ_SUFFIX
from retrograde.runtime.errors import (
    FencedError,
    InvalidInputError,
    OverloadedError,
    RetrogradeError,
    UnavailableError,
)
from retrograde.runtime.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from retrograde.runtime.broker import Broker, Consumer, Message
    from retrograde.runtime.tracing import Trace

MAX_BACKOFF_SECONDS = 30.0
_POLL_SECONDS = 0.2
_KEEP_ALIVE_SECONDS = 1.0

MESSAGES = metrics.counter("worker", "messages_total", "Messages settled", ("topic", "outcome"))
IN_FLIGHT = metrics.gauge("worker", "in_flight_messages", "Messages being handled", ("topic",))
SECONDS = metrics.histogram("worker", "handling_seconds", "Delivery to settled, retries included", ("topic",))

_log = logs.get_logger(__name__)


class HandBackError(Exception):
    """A handler stops because of the drain; its message goes back uncommitted and counts no attempt."""


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
) -> None:
    """Handles the messages of `topic` as a member of `group` until `drain` is set; see the module.

    `backoff_seconds` is the first pause after a failure; it doubles up to 30 s, with jitter. Handlers run concurrently
    and out of order when `max_in_flight` is more than 1.
    """
    with OneThread(f"consume-{topic}") as thread:
        retry = _Retry(broker, topic, handle, drain, max_attempts, backoff_seconds)
        async with _joined(thread, broker, topic, group) as consumer:
            loop = _Loop(thread, consumer, retry, drain, max_in_flight)
            try:
                await loop.run()
            finally:
                await loop.close()


@contextlib.asynccontextmanager
async def _joined(thread: OneThread, broker: Broker, topic: str, group: str) -> AsyncIterator[Consumer]:
    """A member of the group, which leaves it in the end even when cancelled while joining."""
    joining = asyncio.ensure_future(thread.run(broker.consumer, topic, group))
    try:
        yield await asyncio.shield(joining)
    finally:
        try:
            await thread.run((await joining).close)
        except RetrogradeError as error:
            _log.warning("group not left cleanly", topic=topic, reason=str(error))


@dataclass
class _Retry:
    """Takes one message to its end: handled, dead-lettered or given back."""

    broker: Broker
    topic: str
    handle: Callable[[Message], Awaitable[None]]
    drain: asyncio.Event
    max_attempts: int
    backoff_seconds: float

    async def settle(self, message: Message) -> bool:
        """Whether `message` is done and may be committed; False gives it back."""
        trace = tracing.trace_of(message.headers)
        with (
            tracing.bound(trace),
            logs.bound(**_log_fields(message, trace)),
            IN_FLIGHT.labels(self.topic).track_inprogress(),
        ):
            with SECONDS.labels(self.topic).time():
                outcome = await self._outcome(message)
            MESSAGES.labels(self.topic, outcome).inc()
            return outcome != "given_back"

    async def _outcome(self, message: Message) -> str:
        failures = attempts = 0
        while True:
            try:
                await self.handle(message)
            except HandBackError:
                _log.info("handed back")
            except (UnavailableError, OverloadedError) as error:
                _log.warning("peer unavailable", reason=str(error))
            except asyncio.CancelledError:
                if _is_being_cancelled():
                    raise
                _log.exception("the handler's own work was cancelled")
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is logged and dead-lettered
                attempts += 1
                if attempts >= self.max_attempts or isinstance(error, InvalidInputError):
                    return await self._dead_letter(message, attempts, error)
                _log.exception("handler failed", attempt=attempts)
            else:
                return "handled"
            failures += 1
            if await self._drained_within(self._pause_seconds(failures)):
                return "given_back"

    async def _dead_letter(self, message: Message, attempts: int, error: Exception) -> str:
        _log.exception("dead-lettered", attempts=attempts, reason=str(error))
        headers = {**message.headers, **_dead_letter_headers(message, attempts, error)}
        failures = 0
        while True:
            try:
                dlq = self.topic + DLQ_SUFFIX
                await in_thread(self.broker.publish, dlq, message.key, message.value, headers)
            except UnavailableError:
                failures += 1
                if await self._drained_within(self._pause_seconds(failures)):
                    return "given_back"
            else:
                return "dead_lettered"

    def _pause_seconds(self, failures: int) -> float:
        """Doubles with each failure; between half of it and all of it, so that workers spread out."""
        pause = min(self.backoff_seconds * 2.0 ** min(failures - 1, 16), MAX_BACKOFF_SECONDS)
        return pause * random.uniform(0.5, 1.0)

    async def _drained_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain.wait(), seconds)
        return self.drain.is_set()


@dataclass
class _Loop:
    """Polls and commits; owns the handlers' tasks."""

    thread: OneThread
    consumer: Consumer
    retry: _Retry
    drain: asyncio.Event
    max_in_flight: int
    ledger: Ledger = field(default_factory=Ledger)
    tasks: dict[asyncio.Task[bool], Message] = field(default_factory=dict)

    async def run(self) -> None:
        """Until drained and every handler has ended."""
        while not self.drain.is_set():
            try:
                await self._step()
            except UnavailableError as error:
                _log.warning("broker unavailable", topic=self.retry.topic, reason=str(error))
                await asyncio.sleep(self.retry.backoff_seconds)
        while self.tasks:
            await self._settled(_KEEP_ALIVE_SECONDS)
            await self._commit()

    async def _step(self) -> None:
        room = self.max_in_flight - len(self.tasks)
        for message in await self._poll(room):
            if self.ledger.begin(message):
                self.tasks[asyncio.create_task(self.retry.settle(message))] = message
        if room == 0 or len(self.tasks) == self.max_in_flight:
            await self._settled(_KEEP_ALIVE_SECONDS)
        elif self.tasks:
            await self._settled(0)
        await self._commit()

    async def _poll(self, room: int) -> list[Message]:
        timeout = _POLL_SECONDS if room else 0.0
        return await self.thread.run(self.consumer.poll, timeout, room)

    async def _settled(self, timeout_seconds: float) -> None:
        """Waits for a handler to end, and takes note of all that did."""
        done, _ = await asyncio.wait(self.tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            message = self.tasks.pop(task)
            if not task.cancelled() and task.result():
                self.ledger.done(message)

    async def _commit(self) -> None:
        """Commits each partition as far as it is done without a gap."""
        for message in self.ledger.committable():
            try:
                await self.thread.run(self.consumer.commit, message)
            except FencedError as error:
                _log.info("partition moved", reason=str(error))
                self.ledger.forget(message.partition)
            else:
                self.ledger.committed(message)

    async def close(self) -> None:
        """Ends the handlers that still run and commits what is done."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)
            await self._settled(0)
        try:
            await self._commit()
        except RetrogradeError as error:
            _log.warning("finished work not committed", topic=self.retry.topic, reason=str(error))


def _is_being_cancelled() -> bool:
    """Whether somebody cancelled this task, rather than something inside it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _log_fields(message: Message, trace: Trace) -> dict[str, object]:
    where = {"topic": message.topic, "partition": message.partition, "offset": message.offset, "key": message.key}
    return where | {"request_id": trace.request_id, "traceparent": trace.traceparent}


def _dead_letter_headers(message: Message, attempts: int, error: Exception) -> Mapping[str, str]:
    return {
        "x-original-topic": message.topic,
        "x-original-partition": str(message.partition),
        "x-original-offset": str(message.offset),
        "x-original-timestamp": repr(message.timestamp_seconds),
        "x-attempt": str(attempts),
        "x-error-type": type(error).__name__,
        "x-error-message": str(error),
    }
