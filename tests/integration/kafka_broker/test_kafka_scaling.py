"""What the chart tells KEDA to ask of Kafka, asked of a real one."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from retrograde.runtime.adapters import open_broker
from retrograde.wire.topics import REWRITER_GROUP, SEARCH_GROUP
from tests.unit.chart.chart_render import rendered

if TYPE_CHECKING:
    from retrograde.cli.servers.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("group", [SEARCH_GROUP, REWRITER_GROUP])
def test_the_scaler_finds_what_the_workers_committed(kafka_server: KafkaServer, group: str) -> None:
    """Under the group that the chart names Kafka has the worker's commit: two of three messages are its lag."""
    (trigger,) = rendered(autoscaling={"mode": "keda"}).one("ScaledObject", group)["spec"]["triggers"]
    topic = f"t.{uuid.uuid4().hex}"
    with contextlib.closing(open_broker(kafka_server.url)) as broker:
        broker.create_topic(topic, 1)
        for key in "abc":
            broker.publish(topic, key, b"v")
        with contextlib.closing(broker.consumer(topic, group)) as consumer:
            (message,) = consumer.poll(60)
            consumer.commit(message)
    asked = trigger["metadata"]["consumerGroup"].replace(trigger["metadata"]["topic"], topic)
    assert 3 - committed(kafka_server, asked, topic) == 2


def committed(server: KafkaServer, group_id: str, topic: str) -> int:
    """The offset that Kafka has for a group of that very name, -1 for none."""
    part = TopicPartition(topic, 0)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=server.address)) as admin:
        found = admin.list_group_offsets({group_id: [part]})[group_id]
    return int(found[part].offset) if part in found else -1
