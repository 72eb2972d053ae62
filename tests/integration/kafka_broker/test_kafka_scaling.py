"""How many pods the chart's ScaledObjects ask for, by what the workers' consumers have committed in a real Kafka."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from retrograde.runtime.adapters import open_broker
from retrograde.runtime.errors import UnavailableError
from retrograde.wire.topics import NUM_PARTITIONS, REWRITER_GROUP, SEARCH_GROUP
from tests.control_plane import until
from tests.integration.kafka_broker.keda_answers import scaler_answer, wanted_replicas
from tests.servers import PASSWORD, USER
from tests.unit.chart.chart_render import rendered
from tools.keda_scaler import Answer, own_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrograde.cli.servers.kafka_server import KafkaServer
    from retrograde.runtime.broker import Broker, Consumer, Message
    from tests.certificates import Certificates

FEW = {"search": {"minReplicas": 0, "maxReplicas": 100}, "rewriter": {"minReplicas": 0, "maxReplicas": 3}}
LIMITS = {name: {**scaling, "messagesPerReplica": 2} for name, scaling in FEW.items()}

pytestmark = pytest.mark.kafka


class Work:
    """A topic of a test's own in place of the chart's, with the group of a component and what scales it."""

    def __init__(self, kafka: dict[str, Any], broker: Broker, group: str, **autoscaling: Any) -> None:
        chart = rendered(kafka=kafka, autoscaling={"mode": "keda", **autoscaling})
        self.spec = copy.deepcopy(chart.one("ScaledObject", group)["spec"])
        self.broker, self.group, self.topic = broker, group, f"t.{uuid.uuid4().hex}"
        asked = self.spec["triggers"][0]["metadata"]
        asked["consumerGroup"] = asked["consumerGroup"].replace(asked["topic"], self.topic)
        asked["topic"] = self.topic
        broker.create_topic(self.topic, NUM_PARTITIONS)
        until(self._is_known, "Kafka knows of groups: it makes their record when it is first asked for one")

    @property
    def replicas(self) -> int:
        return wanted_replicas(self.spec)

    @property
    def of_a_pod(self) -> int:
        """Messages for which there is a pod."""
        return int(self.spec["triggers"][0]["metadata"]["lagThreshold"])

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.broker.publish(self.topic, uuid.uuid4().hex, b"v")

    def _is_known(self) -> bool:
        try:
            self.broker.lag(self.topic, self.group)
        except UnavailableError:
            return False
        return True

    @contextlib.contextmanager
    def worker(self) -> Iterator[Consumer]:
        with contextlib.closing(self.broker.consumer(self.topic, self.group)) as consumer:
            yield consumer


def take(consumer: Consumer, count: int) -> list[Message]:
    """So many messages, from whatever partitions."""
    taken: list[Message] = []
    while len(taken) < count:
        came = consumer.poll(60, count - len(taken))
        assert came, f"only {len(taken)} of {count} messages came"
        taken += came
    return taken


def finish(consumer: Consumer, taken: list[Message]) -> None:
    """Commits them all: the last of each partition stands for those before it."""
    for message in {each.partition: each for each in taken}.values():
        consumer.commit(message)


@pytest.fixture
def broker(kafka_server: KafkaServer) -> Iterator[Broker]:
    with contextlib.closing(open_broker(kafka_server.url)) as opened:
        yield opened


@pytest.fixture(params=[SEARCH_GROUP, REWRITER_GROUP])
def work(kafka_server: KafkaServer, broker: Broker, request: pytest.FixtureRequest) -> Work:
    """Under the chart's defaults."""
    return Work({"brokers": [kafka_server.address]}, broker, request.param)


def limited(server: KafkaServer, broker: Broker, group: str) -> Work:
    """Two messages for a pod, no pod without any; search up to 100 pods and the rewriter up to 3."""
    return Work({"brokers": [server.address]}, broker, group, **LIMITS)


def test_pods_are_asked_for_by_messages_not_committed(work: Work) -> None:
    """From a topic nobody has read: the least for none and for one message, two pods for one more than one's share."""
    replicas = [work.replicas]
    for count in (1, work.of_a_pod - 1, 1):
        work.publish(count)
        replicas.append(work.replicas)
    least = work.spec["minReplicaCount"]
    assert replicas == [least, least, least, 2]


def test_a_message_in_hand_counts_until_it_is_committed(work: Work) -> None:
    """A worker that has taken everything and committed nothing yet keeps its pods; those commits take them away."""
    work.publish(work.of_a_pod + 1)
    with work.worker() as worker:
        taken = take(worker, work.of_a_pod + 1)
        assert work.replicas == 2
        finish(worker, taken)
    assert work.replicas == work.spec["minReplicaCount"]


def test_the_scaler_finds_what_the_workers_committed(work: Work) -> None:
    """Under the group that the chart names: its lag is the one that the workers' own gauge tells."""
    work.publish(3)
    with work.worker() as worker:
        finish(worker, take(worker, 1))
    answer = scaler_answer(work.spec["triggers"][0]["metadata"])
    assert answer.lag == work.broker.lag(work.topic, work.group) == 2


def test_no_pods_without_work_and_no_more_than_allowed(kafka_server: KafkaServer, broker: Broker) -> None:
    """Where values let it: from none to one for a message, at most `maxReplicas` for any number, and back to none."""
    work = limited(kafka_server, broker, REWRITER_GROUP)
    assert work.replicas == 0
    work.publish(1)
    assert work.replicas == 1
    work.publish(3 * work.of_a_pod)
    assert work.replicas == work.spec["maxReplicaCount"] == 3
    with work.worker() as worker:
        finish(worker, take(worker, 1 + 3 * work.of_a_pod))
    assert work.replicas == 0


def test_no_pods_without_a_partition(kafka_server: KafkaServer, broker: Broker) -> None:
    """For any number of messages, and however many pods values allow, at most one is asked for each partition."""
    work = limited(kafka_server, broker, SEARCH_GROUP)
    work.publish(NUM_PARTITIONS * work.of_a_pod)
    assert work.replicas == NUM_PARTITIONS
    work.publish(2 * work.of_a_pod)
    assert work.replicas == NUM_PARTITIONS < work.spec["maxReplicaCount"]


@pytest.mark.skipif("RETROGRADE_KEDA" not in os.environ, reason="set RETROGRADE_KEDA to ask KEDA's own scaler")
def test_keda_signs_in_as_the_chart_says(secure_kafka: KafkaServer, certificates: Certificates) -> None:
    """With the Secret's keys under the names of the chart's TriggerAuthentication KEDA reads the lag, and only so."""
    sasl = {"enabled": True, "mechanism": "SCRAM-SHA-256"}
    kafka = {"brokers": [secure_kafka.password_address], "tls": {"enabled": True}, "sasl": sasl}
    secret = {"ca.crt": certificates.authority.read_text(), "username": USER, "password": PASSWORD}
    chart = rendered(kafka=kafka, autoscaling={"mode": "keda"})
    named = chart.one("TriggerAuthentication", "kafka")["spec"]["secretTargetRef"]
    given = {each["parameter"]: secret[each["key"]] for each in named}
    with contextlib.closing(open_broker(secure_kafka.url)) as broker:
        work = Work(kafka, broker, SEARCH_GROUP)
        work.publish(1)
    metadata = work.spec["triggers"][0]["metadata"]
    assert own_answer(metadata, given) == Answer(lag=1, is_active=True, lag_of_a_pod=work.of_a_pod)
    with pytest.raises(subprocess.CalledProcessError):
        own_answer(metadata, given | {"password": "another"})
