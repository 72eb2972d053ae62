"""The broker of a process: opened before it serves, and its messages carry the ids of what caused them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from retrograde.runtime import spans, tracing
from retrograde.runtime.broker import Broker, Consumer
from retrograde.runtime.errors import UnavailableError


class TracedBroker:
    """The one that `connect` gives, once `open` has returned; headers given by name win."""

    def __init__(self, connect: Callable[[], Broker]) -> None:
        self._connect = connect
        self._connected: Broker | None = None

    def open(self) -> None:
        """Blocks. Raises what `connect` does; to be called again then."""
        self._connected = self._connect()

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
        """See Broker; what was not opened needs no closing."""
        if self._connected:
            self._connected.close()

    @property
    def _broker(self) -> Broker:
        if self._connected is None:
            raise UnavailableError("broker: this process has not reached it yet; call again once it serves")
        return self._connected
