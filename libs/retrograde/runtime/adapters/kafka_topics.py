"""Topics of a Kafka cluster: how long each keeps its messages, and how large they may be.

    topic                       kept               why
    *.dlq                       90 days            somebody has to come and look
    retrograde.checkpoints.*    latest of a key    a checkpoint replaces the one before it
    any other                   30 days            longer than a run; a message that is gone is a task that is gone

A topic that exists stays as it is: whoever runs the cluster may have changed it, and need not let
its clients make any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import KafkaAdminClient, OffsetSpec

from retrograde.runtime.adapters.kafka_client import answering, meaning, unknown_topic
from retrograde.runtime.adapters.limits import max_bytes
from retrograde.runtime.broker import DLQ_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from retrograde.runtime.adapters.kafka_settings import KafkaSettings

OVERHEAD_BYTES = 4096
"""Of a batch with one message, beside its key, value and headers."""

_DAY_MILLISECONDS = 24 * 60 * 60 * 1000
_READY_MILLISECONDS = 10_000
_FOR_EVER = "-1"


class KafkaTopics:
    """What there is, what is made, and how far groups have come."""

    def __init__(self, admin: KafkaAdminClient, settings: KafkaSettings) -> None:
        self._admin = admin
        self._settings = settings

    def create(self, topic: str, num_partitions: int) -> None:
        """Makes `topic` and its dead-letter topic unless they are there, and returns once they can be used."""
        names = [topic, topic + DLQ_SUFFIX]
        with answering(self._settings, f"topic {topic!r}"):
            wanted = {name: self._description(name, num_partitions) for name in names if not self._described(name)}
            answer = self._admin.create_topics(wanted, raise_errors=False) if wanted else {"topics": []}
            for each in answer["topics"]:
                error = kafka_errors.for_code(each["error_code"])
                if error not in {kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError}:
                    raise meaning(self._settings, f"topic {each['name']!r}", error(each["error_message"]))
            self._admin.wait_for_topics(names, _READY_MILLISECONDS)

    def partitions(self, topic: str) -> list[TopicPartition]:
        """Those of `topic`. Raises NotFoundError when there is none of that name."""
        with answering(self._settings, f"topic {topic!r}"):
            found = self._described(topic)
        if not found:
            raise unknown_topic(self._settings, f"topic {topic!r}")
        return [TopicPartition(topic, each["partition_index"]) for each in found]

    def lag(self, topic: str, group: str) -> int:
        """Messages not committed by `group`; what retention took away is not counted."""
        parts = self.partitions(topic)
        with answering(self._settings, f"group {group!r} on topic {topic!r}"):
            ends = self._offsets(parts, OffsetSpec.LATEST)
            group_id = group_id_of(group, topic)
            committed = self._admin.list_group_offsets({group_id: parts})[group_id]
            begun = {part: committed[part].offset for part in parts if part in committed}
            starts = self._offsets(parts, OffsetSpec.EARLIEST)
        return sum(max(0, ends[part] - max(starts[part], begun.get(part, 0))) for part in parts)

    def _described(self, topic: str) -> list[Any]:
        """Its partitions; [] where there is none of that name. Raises AuthorizationError where asking is refused."""
        (found,) = self._admin.describe_topics([topic])
        error = kafka_errors.for_code(found["error_code"])
        if issubclass(error, kafka_errors.AuthorizationError):
            raise error
        return list(found["partitions"])

    def _offsets(self, parts: list[TopicPartition], spec: OffsetSpec) -> Mapping[TopicPartition, int]:
        found = self._admin.list_partition_offsets(dict.fromkeys(parts, spec))
        return {part: each.offset for part, each in found.items()}

    def _description(self, topic: str, num_partitions: int) -> dict[str, object]:
        replication = self._settings.replication
        return {
            "num_partitions": num_partitions,
            "replication_factor": replication,
            "configs": policy(topic)
            | ({"min.insync.replicas": str(max(1, replication - 1))} if replication > 0 else {}),
        }


def group_id_of(group: str, topic: str) -> str:
    """Kafka's name of a group: of one topic.

    A group that reads several has all its members wait for each other whenever one of them comes or goes.
    """
    return f"{group}.{topic}"


def policy(topic: str) -> dict[str, str]:
    """The table above as Kafka's settings.

    Messages carry the broker's time: it refuses those of a clock that is an hour ahead of it, and would forget those of
    one that is far behind too soon.
    """
    shared = {
        "max.message.bytes": str(max_bytes(topic) + OVERHEAD_BYTES),
        "message.timestamp.type": "LogAppendTime",
    }
    if topic.endswith(DLQ_SUFFIX):
        return shared | {"cleanup.policy": "delete", "retention.ms": str(90 * _DAY_MILLISECONDS)}
    if topic.startswith("retrograde.checkpoints."):
        return shared | {"cleanup.policy": "compact", "retention.ms": _FOR_EVER}
    return shared | {"cleanup.policy": "delete", "retention.ms": str(30 * _DAY_MILLISECONDS)}
