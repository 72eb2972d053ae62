"""The Broker port on Kafka: the cluster profile's broker.

kafka_settings reads the URL, kafka_door and kafka_client connect, kafka_topics makes topics and tells lag,
kafka_consumer is a member of a group. One producer serves all threads of the process: idempotent, and a message counts
once all in-sync replicas have it. Kafka's own hash of the key chooses the partition, as every other client does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from retrograde.runtime.adapters.kafka_client import answering, open_admin, opened
from retrograde.runtime.adapters.kafka_consumer import KafkaTopicConsumer
from retrograde.runtime.adapters.kafka_topics import OVERHEAD_BYTES, KafkaTopics
from retrograde.runtime.adapters.limits import check_name, check_size, check_topic, max_bytes
from retrograde.runtime.broker import DLQ_SUFFIX
from retrograde.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from retrograde.runtime.adapters.kafka_settings import KafkaSettings

PUBLISH_SECONDS = 10.0
"""A message that is not durable after this is an UnavailableError; it may be there all the same."""
_CLOSE_SECONDS = 10.0


class KafkaBroker:
    """The cluster that `settings` names. Its calls may come from any thread.

    Raises:
        InvalidInputError: the cluster and the URL do not go together: a file, a password, a certificate.
        UnavailableError: the cluster does not answer.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._admin = open_admin(settings)
        self._topics = KafkaTopics(self._admin, settings)
        self._known: set[str] = set()
        self._asking = threading.Lock()
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._is_closed = False

    def create_topic(self, topic: str, num_partitions: int) -> None:
        """Makes the topic and its dead-letter topic; what exists stays as it is."""
        check_topic(topic, num_partitions)
        self._topics.create(topic, num_partitions)

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Sends to the partition of `key`; in all in-sync replicas when it returns."""
        given = dict(headers or {})
        check_size(topic, key, value, given)
        self._need_topic(topic)
        encoded = [(name, text.encode()) for name, text in given.items()]
        producer = self._opened_producer()
        try:
            with answering(self._settings, f"topic {topic!r}"):
                producer.send(topic, key=key.encode(), value=value, headers=encoded).get(PUBLISH_SECONDS)
        except UnavailableError:
            self._give_up(producer)
            raise

    def consumer(self, topic: str, group: str) -> KafkaTopicConsumer:
        """Joins `group`; its partitions come while it polls."""
        check_name("group", group)
        self._need_topic(topic)
        return KafkaTopicConsumer(self._settings, topic, group)

    def lag(self, topic: str, group: str) -> int:
        """Messages of `topic` not yet committed by `group`."""
        check_name("group", group)
        return self._topics.lag(topic, group)

    def close(self) -> None:
        """Sends what is under way and disconnects; calling again does nothing."""
        with self._lock:
            producer, self._producer = self._producer, None
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        with answering(self._settings, "closing"):
            if producer:
                _end(producer, _CLOSE_SECONDS)
            self._admin.close()

    def _need_topic(self, topic: str) -> None:
        """Raises NotFoundError for a topic nobody made; kafka-python would wait for it."""
        if topic in self._known:
            return
        with self._asking:  # the first of many threads asks, the others find the topic known
            if topic not in self._known:
                self._topics.partitions(topic)
                self._known.add(topic)

    def _give_up(self, producer: KafkaProducer) -> None:
        """The next message gets a new one: kafka-python 3.0 may stay stuck after the broker was away."""
        with self._lock:
            is_current = self._producer is producer
            if is_current:
                self._producer = None
        if is_current:
            _end(producer, 0.0)

    def _opened_producer(self) -> KafkaProducer:
        with self._lock, answering(self._settings, "connecting"):
            if self._is_closed:
                raise UnavailableError(f"broker: {self._settings.url!r} was closed by this process; open it again")
            if self._producer is None:
                self._producer = opened(
                    KafkaProducer,
                    self._settings,
                    acks="all",
                    enable_idempotence=True,
                    allow_auto_create_topics=False,
                    max_request_size=max_bytes(DLQ_SUFFIX) + OVERHEAD_BYTES,
                    max_block_ms=round(PUBLISH_SECONDS * 1000),
                    delivery_timeout_ms=round(PUBLISH_SECONDS * 1000),
                    request_timeout_ms=round(PUBLISH_SECONDS * 1000 / 2),
                    metrics_enabled=False,
                )
            return self._producer


def _end(producer: KafkaProducer, seconds: float) -> None:
    """Sends what is under way for so long; kafka-python then leaves its thread running, so what is left is dropped."""
    try:
        producer.close(seconds)
    except kafka_errors.KafkaTimeoutError:
        producer._sender.force_close()  # noqa: SLF001 - what `close` does when its own wait is over
