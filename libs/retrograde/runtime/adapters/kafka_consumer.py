"""One member of a consumer group on a Kafka topic.

A thread of its own lets kafka-python poll all the time: it fetches ahead, and takes part in rebalances at once,
whatever the worker is doing. Rebalances are cooperative and sticky: what a member keeps is not interrupted when others
come and go. Two locks: `_calls` around every call of kafka-python, which is not made for several threads, and
`_changed` around what the calls below share with the thread.

Kafka takes a commit for any partition from any member. So that a partition that moved is fenced, `_next` knows what
was delivered since this member holds it: an entry begins with the first delivery and ends when the partition goes,
also if it comes back at once. Kafka would also take a commit below an earlier one: `_committed` keeps how far it is,
beginning with the first delivery.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from retrograde.runtime import logs
from retrograde.runtime.adapters.kafka_client import answering, opened
from retrograde.runtime.adapters.kafka_topics import group_id_of
from retrograde.runtime.broker import Message
from retrograde.runtime.errors import FencedError, RetrogradeError, UnavailableError

if TYPE_CHECKING:
    from retrograde.runtime.adapters.kafka_settings import KafkaSettings

_MAX_READY = 512
_POLL_SECONDS = 0.05
_REBALANCE_SECONDS = 1.0
"""A join that is answered between two polls is begun again by kafka-python 3.0: one poll has to see it through."""
_BETWEEN_CALLS_SECONDS = 0.002
_COMMIT_SECONDS = 5.0
_PAUSE_SECONDS = 0.5
_CLOSE_SECONDS = 3.0
_HEARTBEATS_PER_SESSION = 6
_LONGEST_HEARTBEAT_SECONDS = 1.0
_SHORTEST_INTERVAL_SECONDS = 10.0

_log = logs.get_logger(__name__)


class KafkaTopicConsumer:
    """Joins the group when made; `close` leaves it."""

    def __init__(self, settings: KafkaSettings, topic: str, group: str) -> None:
        self._settings = settings
        self._group = group
        self._what = f"group {group!r} on topic {topic!r}"
        self._calls = threading.Lock()
        self._num_callers = 0
        self._changed = threading.Condition()
        self._ready: deque[Any] = deque()
        self._next: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._held: set[int] = set()
        self._failure: RetrogradeError | None = None
        self._polled_at = time.monotonic()
        self._called_at = 0.0
        self._is_closed = False
        with answering(settings, self._what):
            self._kafka = _client(settings, group_id_of(group, topic))
            self._kafka.subscribe([topic], listener=_Moves(self._came, self._gone))
        self._thread = threading.Thread(target=self._run, name=f"member-{topic}", daemon=True)
        self._thread.start()

    def poll(self, timeout_seconds: float, max_messages: int = 1) -> list[Message]:
        """The next messages, at most `max_messages`, of those fetched."""
        with self._changed:
            self._polled_at = time.monotonic()
            self._changed.wait_for(lambda: self._failure or (max_messages > 0 and self._ready), timeout_seconds)
            failure, self._failure = self._failure, None
            if failure:
                raise failure
            num_messages = min(max_messages, len(self._ready))
            messages = [_message(self._ready.popleft()) for _ in range(num_messages)]
            for message in messages:
                self._committed.setdefault(message.partition, message.offset)
                self._next[message.partition] = message.offset + 1
            self._changed.notify_all()
        return messages

    def commit(self, message: Message) -> None:
        """Commits the message's partition up to and including it.

        Raises:
            FencedError: the partition is no longer this member's, or was not between.
            UnavailableError: not committed, and not known to be moved: the cluster is away or the group in a rebalance.
        """
        give_up = time.monotonic() + _COMMIT_SECONDS
        while True:
            with self._calling(give_up):
                if self._is_committed(message):
                    return
            time.sleep(_POLL_SECONDS)

    def seek(self, message: Message) -> None:
        """Delivers `message` and what follows it again."""
        with self._calling(time.monotonic() + _COMMIT_SECONDS), self._changed:
            if message.partition in self._next:
                self._drop(message.partition)
                self._next[message.partition] = message.offset
                with answering(self._settings, self._what):
                    self._kafka.seek(TopicPartition(message.topic, message.partition), message.offset)

    def assignment(self) -> Sequence[int]:
        """Partitions held now, sorted."""
        with self._changed:
            return sorted(self._held)

    def close(self) -> None:
        """Leaves the group; calling again does nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        with answering(self._settings, self._what):
            self._kafka.close(autocommit=False, timeout_ms=_milliseconds(_CLOSE_SECONDS))

    def _is_committed(self, message: Message) -> bool:
        """False while the group is in a rebalance; a position never goes back."""
        if message.offset >= self._next.get(message.partition, 0):
            raise self._fenced(message)
        if message.offset < self._committed[message.partition]:
            return True
        offsets = {TopicPartition(message.topic, message.partition): OffsetAndMetadata(message.offset + 1, "", -1)}
        with answering(self._settings, self._what):
            try:
                self._kafka.commit(offsets, timeout_ms=_milliseconds(_COMMIT_SECONDS))
            except kafka_errors.RebalanceInProgressError:
                return False
            except kafka_errors.CommitFailedError as error:
                if isinstance(error.args[0], kafka_errors.RebalanceInProgressError):
                    return False
                raise self._fenced(message) from error
        self._committed[message.partition] = message.offset + 1
        return True

    def _fenced(self, message: Message) -> FencedError:
        return FencedError(
            f"{message.topic}/{message.partition} at {message.offset}: the partition was given to another member of "
            f"{self._group!r} since this was delivered; drop the work, it is delivered again"
        )

    @contextmanager
    def _calling(self, give_up: float) -> Iterator[None]:
        """Between two polls of the thread, which lets callers go first."""
        self._num_callers += 1
        try:
            is_ours = self._calls.acquire(timeout=max(0.0, give_up - time.monotonic()))
        finally:
            self._num_callers -= 1
        if not is_ours:
            raise UnavailableError(f"broker: {self._settings.url!r}: {self._what} is in a rebalance; call again")
        try:
            yield
        finally:
            self._calls.release()
            self._called_at = time.monotonic()
            with self._changed:
                self._changed.notify_all()

    def _run(self) -> None:
        """The thread's: fetches while there is room, and takes part in what the group does."""
        while not self._is_closed:
            try:
                with self._calls, answering(self._settings, self._what):
                    self._fetch()
            except RetrogradeError as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                time.sleep(_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - the membership must not end with one call
                _log.exception("a member's poll failed")
                time.sleep(_PAUSE_SECONDS)
            self._let_others_go_first()

    def _let_others_go_first(self) -> None:
        """Waits while somebody calls, may call again at once, has left enough to take, or has ceased to poll."""
        with self._changed:
            while not self._is_closed and (self._is_abandoned() or self._num_callers or self._is_between_calls()):
                self._changed.wait(_BETWEEN_CALLS_SECONDS)
            self._changed.wait_for(
                lambda: self._is_closed or self._num_callers or len(self._ready) < _MAX_READY, _POLL_SECONDS
            )

    def _is_between_calls(self) -> bool:
        """Several partitions are committed one after the other: they need not wait for a poll each."""
        return time.monotonic() - self._called_at < _BETWEEN_CALLS_SECONDS

    def _fetch(self) -> None:
        room = _MAX_READY - len(self._ready)
        is_stable = self._kafka.group_metadata().state == MemberState.STABLE
        waits = (_POLL_SECONDS if room else 0.0) if is_stable else _REBALANCE_SECONDS
        if not room:
            self._kafka.pause(*self._kafka.assignment())
        try:
            fetched = self._kafka.poll(_milliseconds(waits), max_records=max(1, room))
        finally:
            self._kafka.resume(*self._kafka.paused())
        with self._changed:
            self._ready.extend(record for records in fetched.values() for record in records)
            self._changed.notify_all()

    def _is_abandoned(self) -> bool:
        """Nobody polls any more; kafka-python then leaves the group."""
        return time.monotonic() - self._polled_at > self._settings.poll_seconds

    def _came(self, parts: Iterable[TopicPartition]) -> None:
        with self._changed:
            self._held |= {part.partition for part in parts}

    def _gone(self, parts: Iterable[TopicPartition]) -> None:
        with self._changed:
            for part in parts:
                self._held.discard(part.partition)
                self._next.pop(part.partition, None)
                self._committed.pop(part.partition, None)
                self._drop(part.partition)

    def _drop(self, partition: int) -> None:
        """What waits of it is fetched again, here or elsewhere."""
        self._ready = deque(record for record in self._ready if record.partition != partition)


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells of partitions that come and go; called by kafka-python's thread, while ours waits for it in a poll."""

    def __init__(self, came: Callable[[Iterable[Any]], None], gone: Callable[[Iterable[Any]], None]) -> None:
        self._came = came
        self._gone = gone

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """They begin at their committed position."""
        self._came(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """To another member, in the course of a rebalance."""
        self._gone(revoked)

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        """This member was taken for dead."""
        self._gone(lost)


def _client(settings: KafkaSettings, group_id: str) -> KafkaConsumer:
    heartbeat_seconds = min(settings.session_seconds / _HEARTBEATS_PER_SESSION, _LONGEST_HEARTBEAT_SECONDS)
    consumer = opened(
        KafkaConsumer,
        settings,
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=[CooperativeStickyAssignor],
        session_timeout_ms=_milliseconds(settings.session_seconds),
        heartbeat_interval_ms=_milliseconds(heartbeat_seconds),
        max_poll_interval_ms=_milliseconds(max(settings.session_seconds, _SHORTEST_INTERVAL_SECONDS)),
        fetch_max_wait_ms=_milliseconds(_POLL_SECONDS),  # a partition that comes waits for the fetch under way
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
    # Waiting for messages need not end with a heartbeat, which has a task of its own: while one is due and cannot be
    # sent, kafka-python 3.0 otherwise polls without a pause, and keeps a little of each poll.
    consumer._coordinator.time_to_next_poll = lambda: _POLL_SECONDS  # noqa: SLF001
    return consumer


def _message(record: Any) -> Message:
    """Other producers may leave out what ours always give."""
    return Message(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=(record.key or b"").decode(errors="replace"),
        value=record.value or b"",
        headers={name: (text or b"").decode(errors="replace") for name, text in record.headers},
        timestamp_seconds=record.timestamp / 1000,
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
