"""Search and rewriter get as many pods as there is work: by Kafka lag, or by CPU where there is no KEDA."""

from __future__ import annotations

from typing import Any

import pytest
from chart_render import ALL_ON, Object, profile, rendered

from retrograde.runtime.adapters.kafka_topics import group_id_of
from retrograde.wire import topics
from services.rewriter.settings import RewriterSettings
from services.search.settings import SearchServiceSettings

WORKERS = {
    "search": (topics.PROBLEMS_TOPIC, topics.SEARCH_GROUP, SearchServiceSettings.model_fields["max_trees"].default),
    "rewriter": (topics.TREES_TOPIC, topics.REWRITER_GROUP, RewriterSettings.model_fields["max_trees"].default),
}


def scaled(component: str, **values: Any) -> Object:
    spec: Object = rendered(autoscaling={"mode": "keda"}, **values).one("ScaledObject", component)["spec"]
    return spec


@pytest.mark.parametrize("component", WORKERS)
def test_the_lag_is_that_of_the_workers(component: str) -> None:
    """Topic and group have the names that the code gives them in Kafka; a pod is for as many messages as one takes."""
    topic, group, max_trees = WORKERS[component]
    (trigger,) = scaled(component)["triggers"]
    metadata = trigger["metadata"]
    expected = ("kafka", topic, group_id_of(group, topic))
    assert (trigger["type"], metadata["topic"], metadata["consumerGroup"]) == expected
    assert metadata["lagThreshold"] == str(max_trees)
    assert all(isinstance(value, str) for value in metadata.values())


@pytest.mark.parametrize("component", WORKERS)
def test_messages_of_before_the_first_commit_count(component: str) -> None:
    """A group that has committed nothing has all messages before it; pods without a partition are not asked for."""
    metadata = scaled(component)["triggers"][0]["metadata"]
    assert (metadata["offsetResetPolicy"], metadata["allowIdleConsumers"]) == ("earliest", "false")


@pytest.mark.parametrize("component", WORKERS)
def test_the_limit_is_the_topics(component: str) -> None:
    """By default no more pods are asked for than the topic has partitions."""
    spec = scaled(component)
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, topics.NUM_PARTITIONS)


@pytest.mark.parametrize("component", WORKERS)
@pytest.mark.parametrize("mode", ["keda", "hpa"])
def test_the_scaler_alone_decides(mode: str, component: str) -> None:
    """The Deployment says no number of its own, so that an upgrade does not undo the scaler's."""
    chart = rendered(autoscaling={"mode": mode})
    assert "replicas" not in chart.one("Deployment", component)["spec"]
    assert profile("defaults").one("Deployment", component)["spec"]["replicas"] == 1
    kind = "ScaledObject" if mode == "keda" else "HorizontalPodAutoscaler"
    target = chart.one(kind, component)["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"r-{component}"}


def test_no_worker_at_all_is_asked_for_where_values_say_so() -> None:
    """With 0 as the least there is no fallback number for when Kafka cannot be asked."""
    values = {"autoscaling": {"mode": "keda", "search": {"minReplicas": 0}}}
    spec = rendered(**values).one("ScaledObject", "search")["spec"]
    assert spec["minReplicaCount"] == 0
    assert "fallback" not in spec
    assert scaled("search")["fallback"]["replicas"] == 1


def test_by_cpu_there_is_at_least_one() -> None:
    """An HPA cannot go to zero."""
    values = {"autoscaling": {"mode": "hpa", "search": {"minReplicas": 0, "cpuPercent": 55}}}
    spec = rendered(**values).one("HorizontalPodAutoscaler", "search")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, topics.NUM_PARTITIONS)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 55


@pytest.mark.parametrize("mode", ["keda", "hpa"])
def test_pods_are_taken_away_slowly(mode: str) -> None:
    """Less work must last for as long as values say."""
    chart = rendered(autoscaling={"mode": mode, "scaleInSeconds": 900})
    if mode == "keda":
        spec = chart.one("ScaledObject", "search")["spec"]
        assert spec["cooldownPeriod"] == 900
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    else:
        behavior = chart.one("HorizontalPodAutoscaler", "search")["spec"]["behavior"]
    assert behavior["scaleDown"] == {"stabilizationWindowSeconds": 900}


@pytest.mark.parametrize(
    ("mechanism", "word"),
    [("SCRAM-SHA-256", "scram_sha256"), ("SCRAM-SHA-512", "scram_sha512"), ("PLAIN", "plaintext")],
)
def test_the_scaler_signs_in_as_the_workers_do(mechanism: str, word: str) -> None:
    """With the same mechanism, in KEDA's words, and with TLS."""
    kafka = {"tls": {"enabled": True}, "sasl": {"enabled": True, "mechanism": mechanism}}
    (trigger,) = scaled("search", kafka=kafka)["triggers"]
    assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == (word, "enable")
    assert trigger["authenticationRef"] == {"name": "r-kafka"}


def test_the_scaler_takes_its_secrets_from_the_same_secret() -> None:
    """Each under KEDA's name for it; with an open broker there is none."""
    references = rendered(**ALL_ON).one("TriggerAuthentication", "kafka")["spec"]["secretTargetRef"]
    assert {(each["parameter"], each["name"], each["key"]) for each in references} == {
        (parameter, "retrograde-kafka", key)
        for parameter, key in {
            "ca": "ca.crt",
            "cert": "tls.crt",
            "key": "tls.key",
            "username": "username",
            "password": "password",
        }.items()
    }
    assert "authenticationRef" not in scaled("search")["triggers"][0]


def test_the_dev_kafka_is_where_the_defaults_look() -> None:
    """Nothing is asked of a broker that values do not name."""
    assert scaled("search")["triggers"][0]["metadata"]["bootstrapServers"] == "kafka:9092"
