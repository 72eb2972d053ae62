"""Messages that a stage waits for in vain: those given up, and those that the broker has lost.

A worker commits a message once its object is stored and announced, so no kill loses one. What does is the broker's own
memory: a topic or a broker made anew, or set back to an older state, or a retention that ended before a worker came.
The store tells what is missing, and

    the group has no lag                    all that was on the topic is handled: what is missing is not there
    nothing came for a minute (then two, four, up to an hour)   the topic is read: what it does not hold is lost

Lost messages are published again. One too many costs its worker a look at the store: keys derive from the inputs.
"""

from __future__ import annotations

import asyncio
import time

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import DLQ_SUFFIX, Consumer, Message
from retrograde.runtime.dead_letters import Letters
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.reading import everything
from retrograde.v1 import messages_pb2
from retrograde.wire.topics import MESSAGE_TYPES, NUM_PARTITIONS
from services.trainer.stages.stage import RunContext

_QUIET_SECONDS = 60.0
_LONGEST_QUIET_SECONDS = 3600.0

_log = get_logger(__name__)


class DeadLetters:
    """Problems of one run that were given up: their letters are open, or dropped."""

    def __init__(self, context: RunContext, topic: str) -> None:
        self._run_id = context.run_id
        self._topic = topic
        self._letters = Letters()
        group = f"trainer-{context.run_id}-{time.time_ns()}"
        self._consumer: Consumer = context.broker.consumer(topic + DLQ_SUFFIX, group)

    def read(self) -> set[str]:
        """Their ids, with what has come since."""
        self._letters.take(self._consumer.poll(0.0, 1000))
        ids = (problem_id_of(letter, self._topic, self._run_id) for letter in self._letters.given_up)
        return {each for each in ids if each}

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()


def problem_id_of(message: Message, topic: str, run_id: str) -> str:
    """The problem a message of `topic` is about; "" if it is another run's, or no message of that topic's type."""
    try:
        told: ProtoMessage = MESSAGE_TYPES[topic].FromString(message.value)
    except DecodeError:
        return ""
    if getattr(told, "run_id") != run_id:  # noqa: B009  all of these messages have it, their base does not
        return ""
    return told.problem.id if isinstance(told, messages_pb2.ProblemQueued) else str(getattr(told, "problem_id"))  # noqa: B009


async def on_topic(context: RunContext, topic: str) -> set[str]:
    """The run's problems that `topic` holds a message of, handled or not."""

    def read() -> set[str]:
        return {problem_id_of(message, topic, context.run_id) for message in everything(context.broker, topic)}

    return await in_thread(read)


class LostMessages:
    """See the module; of one run, on the topic that `group` consumes."""

    def __init__(self, context: RunContext, topic: str, group: str) -> None:
        self._context = context
        self._topic = topic
        self._group = group
        self._quiet_seconds = _QUIET_SECONDS
        self._num_missing = -1
        self._since = 0.0

    async def lag(self) -> int:
        """The group's, to be asked before the store is looked at; a topic that is gone is made again."""
        try:
            return await in_thread(self._context.broker.lag, self._topic, self._group)
        except NotFoundError:
            await in_thread(self._context.broker.create_topic, self._topic, NUM_PARTITIONS)
            return 0

    async def among(self, missing: set[str], lag: int) -> set[str]:
        """Those of `missing` that have no message; all were published before `lag` was asked, and are not stored."""
        lost = set(missing) if lag == 0 else await self._not_on_topic(missing)
        if lost:
            _log.warning("messages lost: publishing again", topic=self._topic, count=len(lost), lag=lag)
        return lost

    async def _not_on_topic(self, missing: set[str]) -> set[str]:
        now = asyncio.get_running_loop().time()
        if len(missing) != self._num_missing:
            self._num_missing, self._since, self._quiet_seconds = len(missing), now, _QUIET_SECONDS
        if not missing or now - self._since < self._quiet_seconds:
            return set()
        self._quiet_seconds = min(2 * self._quiet_seconds, _LONGEST_QUIET_SECONDS)
        self._since = now
        return missing - await on_topic(self._context, self._topic)
