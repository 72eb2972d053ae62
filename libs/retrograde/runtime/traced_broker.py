"""Messages that carry the ids of what caused them."""

from __future__ import annotations

from collections.abc import Mapping

from retrograde.runtime import spans, tracing
from retrograde.runtime.broker import Broker, Consumer


class TracedBroker:
    """Another broker, whose messages carry the ids of what caused them; headers given by name win."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def create_topic(self, topic: str, num_partitions: int) -> None:
        """See Broker."""
        self._broker.create_topic(topic, num_partitions)

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """See Broker."""
        with spans.record(f"publish {topic}", spans.Kind.PRODUCER, {"messaging.destination.name": topic}):
            self._broker.publish(topic, key, value, {**tracing.carried(), **(headers or {})})

    def consumer(self, topic: str, group: str) -> Consumer:
        """See Broker."""
        return self._broker.consumer(topic, group)

    def lag(self, topic: str, group: str) -> int:
        """See Broker."""
        return self._broker.lag(topic, group)

    def close(self) -> None:
        """See Broker."""
        self._broker.close()
