"""The Broker port: what Kafka can really do, and nothing it cannot.

A topic has partitions; a message goes to the partition of its key; a group's members share the partitions; a position
is committed per partition. Delivery is at least once: what was not committed when a member left is delivered again.
`<topic>.dlq` takes what could not be handled, byte-identical, with the reason in its headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

DLQ_SUFFIX = ".dlq"
MAX_MESSAGE_BYTES = 1_000_000
"""Key, value and headers of a message together; a dead letter may have 64 KiB more."""


@dataclass(frozen=True, slots=True)
class Message:
    """A record as delivered; (topic, partition, offset) is its identity."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    timestamp_seconds: float = 0.0


class Consumer(Protocol):
    """One member of a group on one topic. Used by one thread or task at a time."""

    def poll(self, timeout_seconds: float, max_messages: int = 1) -> list[Message]:
        """The next messages of the partitions assigned to this member; [] when none came in time.

        `max_messages` 0 takes none and keeps the membership: a busy worker polls so, at least once a session.
        """

    def commit(self, message: Message) -> None:
        """Everything of the message's partition up to and including it is done. Raises FencedError when revoked."""

    def seek(self, message: Message) -> None:
        """Delivers `message` and what follows it again."""

    def assignment(self) -> Sequence[int]:
        """Partitions this member holds now."""

    def close(self) -> None:
        """Leaves the group; its partitions go to the others at once."""


class Broker(Protocol):
    """Produces, and makes consumers. Calls block; async code runs them in a thread."""

    def create_topic(self, topic: str, num_partitions: int) -> None:
        """Makes the topic and its `.dlq` unless they exist; idempotent."""

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Returns once the message is durable."""

    def consumer(self, topic: str, group: str) -> Consumer:
        """Joins `group`."""

    def lag(self, topic: str, group: str) -> int:
        """Messages not yet committed by `group`."""

    def close(self) -> None:
        """Closes producers; consumers close themselves."""
