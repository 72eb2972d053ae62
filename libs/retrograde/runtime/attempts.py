"""One message to its end: handled, dead-lettered or given back.

    attempt -> pause -> attempt -> ... -> settled

Each attempt has `deadline_seconds`; then its handler is cancelled, and left behind if it does not end within a tenth of
that. Pauses begin with `backoff_seconds` and double up to half a minute, with jitter; up to five seconds where the
reason is an absent peer, so that work goes on soon after it is back. A message therefore holds its
partition's commits, and one place among those in flight, for at most

    max_attempts * 1.1 * deadline_seconds + the pauses between

while later messages of the partition go on; only waiting for an absent peer has no bound, and counts no attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.runtime import logs, spans, tracing
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import DLQ_SUFFIX
from retrograde.runtime.dead_letters import dead_letter_headers
from retrograde.runtime.errors import InvalidInputError, OverloadedError, UnavailableError
from retrograde.runtime.worker_metrics import IN_FLIGHT, MESSAGES, RETRIES, SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from retrograde.runtime.broker import Broker, Message

MAX_BACKOFF_SECONDS = 30.0
MAX_ABSENCE_SECONDS = 5.0
_GRACE, _MAX_GRACE_SECONDS = 0.1, 30.0  # a share of the deadline, for a cancelled handler to end

_log = logs.get_logger(__name__)


class HandBackError(Exception):
    """A handler stops because of the drain; its message goes back uncommitted and counts no attempt."""


class DeadlineExceededError(Exception):
    """A handler ran longer than the message's deadline."""


class Outcome(enum.StrEnum):
    """What became of a message."""

    HANDLED = "handled"
    DEAD_LETTERED = "dead_lettered"
    GIVEN_BACK = "given_back"


@dataclass(frozen=True)
class Attempts:
    """See the module."""

    broker: Broker
    topic: str
    handle: Callable[[Message], Awaitable[None]]
    drain: asyncio.Event
    max_attempts: int
    backoff_seconds: float
    deadline_seconds: float

    async def settle(self, message: Message) -> Outcome:
        """Takes `message` to its end; it may be committed unless it is given back."""
        with (
            tracing.bound(tracing.trace_of(message.headers)),
            logs.bound(topic=message.topic, partition=message.partition, offset=message.offset, key=message.key),
            spans.record(f"process {self.topic}", spans.Kind.CONSUMER, _about(message)) as span,
            IN_FLIGHT.labels(self.topic).track_inprogress(),
            SECONDS.labels(self.topic).time(),
        ):
            outcome = await self._outcome(message)
            if span:
                span.note("retrograde.outcome", outcome.value)
        MESSAGES.labels(self.topic, outcome).inc()
        return outcome

    async def _outcome(self, message: Message) -> Outcome:
        pauses = attempts = 0
        while True:
            longest_seconds = MAX_BACKOFF_SECONDS
            try:
                await self._attempt(message)
            except HandBackError:
                _log.info("handed back")
            except (UnavailableError, OverloadedError) as error:
                _log.warning("peer unavailable", reason=str(error))
                longest_seconds = MAX_ABSENCE_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is logged and dead-lettered
                attempts += 1
                if attempts >= self.max_attempts or isinstance(error, InvalidInputError):
                    return await self._dead_letter(message, attempts, error)
                _log.exception("handler failed", attempt=attempts)
            else:
                return Outcome.HANDLED
            pauses += 1
            if await self.drained_within(self.pause_seconds(pauses, longest_seconds)):
                return Outcome.GIVEN_BACK
            RETRIES.labels(self.topic).inc()

    async def _attempt(self, message: Message) -> None:
        """One call of the handler, in a task of its own so that it can be ended and left behind."""
        task = asyncio.ensure_future(self.handle(message))
        try:
            await asyncio.wait({task}, timeout=self.deadline_seconds)
            if not task.done():
                raise DeadlineExceededError(f"not done after {self.deadline_seconds:g} s")
        finally:
            await self._end(task)
        if task.cancelled():
            _log.error("the handler's own work was cancelled")
            raise HandBackError
        task.result()

    async def _end(self, task: asyncio.Future[None]) -> None:
        if task.done():
            return
        task.cancel()
        grace_seconds = min(self.deadline_seconds * _GRACE, _MAX_GRACE_SECONDS)
        _, stuck = await asyncio.wait({task}, timeout=grace_seconds)
        if stuck:
            _log.error("the handler does not end although it was cancelled: left behind")
        elif not task.cancelled() and (error := task.exception()):
            _log.warning("the handler failed while it was cancelled", reason=repr(error))

    async def _dead_letter(self, message: Message, attempts: int, error: Exception) -> Outcome:
        """Publishes to the dead-letter topic until it is taken: nothing may be committed before."""
        _log.exception("dead-lettered", attempts=attempts, reason=str(error))
        headers = {**message.headers, **dead_letter_headers(message, attempts, error)}
        pauses = 0
        while True:
            try:
                await in_thread(self.broker.publish, self.topic + DLQ_SUFFIX, message.key, message.value, headers)
            except Exception as refused:  # noqa: BLE001 - whatever it is, the message must not be lost for it
                _log.warning("dead letter not taken", reason=repr(refused))
            else:
                return Outcome.DEAD_LETTERED
            pauses += 1
            if await self.drained_within(self.pause_seconds(pauses, MAX_ABSENCE_SECONDS)):
                return Outcome.GIVEN_BACK

    def pause_seconds(self, pauses: int, longest_seconds: float = MAX_BACKOFF_SECONDS) -> float:
        """Doubles each time; between half of it and all of it, so that workers spread out."""
        pause = min(self.backoff_seconds * 2.0 ** min(pauses - 1, 16), longest_seconds)
        return pause * random.uniform(0.5, 1.0)

    async def drained_within(self, seconds: float) -> bool:
        """Waits that long, or until the drain; whether it drains."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drain.wait(), seconds)
        return self.drain.is_set()


def _about(message: Message) -> dict[str, str | int]:
    """What its span says of a message, in the words of OpenTelemetry's conventions."""
    return {
        "messaging.destination.name": message.topic,
        "messaging.destination.partition.id": str(message.partition),
        "messaging.message.offset": message.offset,
        "messaging.message.key": message.key,
    }
