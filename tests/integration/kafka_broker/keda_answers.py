"""What KEDA's Kafka scaler answers about a trigger, and how many pods are wanted by it.

After KEDA 2.21 (pkg/scalers/kafka_scaler.go) and the autoscaler's algorithm for an average value, for a broker without
TLS. Where RETROGRADE_KEDA is set KEDA's own scaler is asked as well, and must say the same (tools/keda_scaler.py).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka.admin import OffsetSpec
from kafka.structs import TopicPartition

from tools.keda_scaler import Answer, own_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = {
    "lagThreshold": "10",
    "activationLagThreshold": "0",
    "offsetResetPolicy": "latest",
    "allowIdleConsumers": "false",
    "limitToPartitionsWithLag": "false",
}
_REQUIRED = {"bootstrapServers", "consumerGroup", "topic"}


def wanted_replicas(spec: Mapping[str, Any]) -> int:
    """Of the ScaledObject, once the autoscaler has come to rest; to 0 and back is KEDA's own decision."""
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "kafka"
    answer = scaler_answer(trigger["metadata"])
    least, most = spec["minReplicaCount"], spec["maxReplicaCount"]
    if least == 0 and not answer.is_active:
        return 0
    return int(min(max(-(-answer.lag // answer.lag_of_a_pod), least, 1), most))


def scaler_answer(metadata: Mapping[str, str]) -> Answer:
    """By what Kafka says now."""
    answer = _answer(_DEFAULTS | dict(metadata))
    if "RETROGRADE_KEDA" in os.environ:
        assert answer == own_answer(metadata)
    return answer


def _answer(metadata: Mapping[str, str]) -> Answer:
    assert set(metadata) == _REQUIRED | set(_DEFAULTS), "a field whose meaning is not known here"
    lags = _lags(metadata)
    total, lag_of_a_pod = sum(lags), int(metadata["lagThreshold"])
    is_limited = metadata["limitToPartitionsWithLag"] == "true"
    most = sum(lag > 0 for lag in lags) if is_limited else len(lags)
    has_limit = is_limited or metadata["allowIdleConsumers"] == "false"
    told = most * lag_of_a_pod if has_limit and total // lag_of_a_pod > most else total
    return Answer(told, total > int(metadata["activationLagThreshold"]), lag_of_a_pod)


def _lags(metadata: Mapping[str, str]) -> list[int]:
    """Of each partition; one without a commit counts whole, or as one message where such a group begins at the end."""
    group, topic = metadata["consumerGroup"], metadata["topic"]
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=metadata["bootstrapServers"].split(","))) as admin:
        (found,) = admin.describe_topics([topic])
        parts = [TopicPartition(topic, each["partition_index"]) for each in found["partitions"]]
        committed = admin.list_group_offsets({group: parts})[group]
        latest = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.LATEST))
        earliest = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.EARLIEST))
    reads_all = metadata["offsetResetPolicy"] == "earliest"
    unread = {part: latest[part].offset - earliest[part].offset if reads_all else 1 for part in parts}
    begun = {part: committed[part].offset for part in parts if part in committed and committed[part].offset >= 0}
    return [latest[part].offset - begun[part] if part in begun else unread[part] for part in parts]
