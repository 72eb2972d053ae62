"""Nothing may talk to anything but by these rules; what the policies allow is the picture of docs/architecture.md."""

from __future__ import annotations

import pytest
from chart_render import ALL_ON, PODS, SERVICES, Object, profile, rendered

GRPC, METRICS, KAFKA, S3, DNS = 50051, 9090, 9092, 9000, 53
MAY_CALL = {
    "inference": {"search", "rewriter", "rollouts", "trainer"},
    "verifier": {"search", "rewriter", "rollouts", "trainer"},
    "search": {"test"},
    "rewriter": set(),
    "rollouts": {"trainer", "job"},
    "trainer": set(),
    "job": {"job"},
    "test": set(),
}
CALLS = {name: {peer for peer, callers in MAY_CALL.items() if name in callers} for name in PODS}
CLIENTS = {"podSelector": {"matchLabels": {"retrograde.dev/client": "true"}}}
PRIVATE = {"job", "test"}


def policy(component: str, **values: Object) -> Object:
    spec: Object = rendered(**values).one("NetworkPolicy", component)["spec"]
    return spec


def components(peers: list[Object]) -> set[str]:
    labels = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    return {each["app.kubernetes.io/component"] for each in labels if "app.kubernetes.io/component" in each}


def ports(rule: Object) -> set[int]:
    return {port["port"] for port in rule.get("ports", ())}


def test_everything_is_denied_first() -> None:
    """A policy selects all pods of the release, for both directions, and allows nothing."""
    spec = policy("default-deny")
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(spec)
    selector = spec["podSelector"]["matchLabels"]
    assert selector == {"app.kubernetes.io/name": "retrograde", "app.kubernetes.io/instance": "r"}
    for component in PODS:
        labels = profile("defaults").pod(component)["metadata"]["labels"]
        assert selector.items() <= labels.items()


@pytest.mark.parametrize("component", PODS)
def test_a_policy_selects_its_component(component: str) -> None:
    """By the labels that its pods have, for both directions."""
    spec = policy(component)
    labels = profile("defaults").pod(component)["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}


@pytest.mark.parametrize("component", PODS)
def test_callers_are_those_of_the_architecture(component: str) -> None:
    """Of the platform's own pods exactly its callers may come in."""
    allowed = set().union(*(components(rule["from"]) for rule in policy(component)["ingress"]))
    assert allowed == MAY_CALL[component]


@pytest.mark.parametrize("component", PODS)
def test_nobody_comes_in_without_a_name(component: str) -> None:
    """Every rule says from where; a rule without would let everybody in."""
    assert all(rule.get("from") for rule in policy(component)["ingress"])
    for rule in policy(component)["ingress"]:
        for peer in rule["from"]:
            assert peer.get("podSelector", peer.get("namespaceSelector"))


@pytest.mark.parametrize("component", PODS)
def test_peers_are_those_of_the_architecture(component: str) -> None:
    """Of the platform's own pods it may call exactly those that let it in."""
    allowed = set().union(*(components(rule.get("to", [])) for rule in policy(component)["egress"]))
    assert allowed == CALLS[component]


@pytest.mark.parametrize(
    ("component", "outside"),
    [
        ("inference", {S3}),
        ("verifier", set()),
        ("search", {KAFKA, S3}),
        ("rewriter", {KAFKA, S3}),
        ("rollouts", {S3}),
        ("trainer", {KAFKA, S3, 443, 6443}),
        ("job", {S3}),
        ("test", set()),
    ],
)
def test_ways_out_are_those_that_are_needed(component: str, outside: set[int]) -> None:
    """Broker, store and API server may lie anywhere, but only those that use them reach their ports."""
    anywhere = [rule for rule in policy(component)["egress"] if "to" not in rule]
    assert all(ports(rule) for rule in anywhere)
    assert set().union(*map(ports, anywhere)) == outside


def test_the_verifier_reaches_nothing() -> None:
    """It reads untrusted text: with everything on it may not even ask for a name."""
    assert policy("verifier", **ALL_ON)["egress"] == []


@pytest.mark.parametrize("component", [name for name in PODS if name != "verifier"])
def test_names_are_asked_in_kube_system(component: str) -> None:
    """DNS is where the cluster has it, not anywhere."""
    (rule,) = [rule for rule in policy(component)["egress"] if ports(rule) == {DNS}]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    assert {port["protocol"] for port in rule["ports"]} == {"UDP", "TCP"}


@pytest.mark.parametrize("component", SERVICES)
def test_labelled_clients_may_call(component: str) -> None:
    """So may those in `networkPolicy.clients`: at the gRPC port, and at the doors for tokens and HTTP."""
    gateway = {"namespaceSelector": {"matchLabels": {"team": "one"}}}
    spec = policy(component, **(ALL_ON | {"networkPolicy": {"clients": [gateway]}}))
    (rule,) = [rule for rule in spec["ingress"] if CLIENTS in rule["from"]]
    assert gateway in rule["from"]
    doors = {"inference": {8000}, "rollouts": {50053}, "trainer": {50053}}
    assert ports(rule) == {GRPC} | doors.get(component, set())


@pytest.mark.parametrize("component", PODS)
def test_metrics_are_for_the_monitoring_namespace(component: str) -> None:
    """It may come to that port only; jobs and the test have none."""
    found = [rule for rule in policy(component)["ingress"] if METRICS in ports(rule)]
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    expected = [] if component in PRIVATE else [([selector], {METRICS})]
    assert [(rule["from"], ports(rule)) for rule in found] == expected


def test_brokers_and_stores_may_be_narrowed() -> None:
    """Peers in values bound where broker, store, collector and API server may lie; ports come from the addresses."""
    block = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    values = {
        "networkPolicy": dict.fromkeys(("kafka", "s3", "tracing", "apiServer"), block),
        "kafka": {"brokers": ["one:9093", "two:9093", "three:9094"]},
        "s3": {"endpoint": "https://s3:443"},
        "tracing": {"endpoint": "http://collector:4317"},
    }
    rules = [(ports(rule), rule["to"]) for rule in policy("trainer", **values)["egress"][2:]]
    assert rules == [({9093, 9094}, block), ({443}, block), ({4317}, block), ({443, 6443}, block)]


def test_ports_behind_services_are_opened() -> None:
    """Those in values come beside the addresses': a policy sees the port of the pod, and not that of its Service."""
    behind = {"dns": [53, 5353], "kafka": [31092], "s3": [9000], "tracing": [5317], "apiServer": [8443]}
    values = {
        "networkPolicy": {"ports": behind},
        "s3": {"endpoint": "https://minio.tenant.svc:443"},
        "tracing": {"endpoint": "http://collector:4317"},
    }
    names, *others = policy("search", **values)["egress"]
    assert [(port["port"], port["protocol"]) for port in names["ports"]] == [
        (53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP"),
    ]  # fmt: skip
    assert [ports(rule) for rule in others[1:]] == [{KAFKA, 31092}, {443, 9000}, {4317, 5317}]
    assert ports(policy("trainer", **values)["egress"][-1]) == {8443}


@pytest.mark.parametrize("component", PODS[:-1])
def test_own_rules_are_added(component: str) -> None:
    """`extraIngress` and `extraEgress` come after the chart's."""
    own = {"extraIngress": [{"from": [{"podSelector": {}}]}], "extraEgress": [{"to": [{"podSelector": {}}]}]}
    spec = policy(component, **dict.fromkeys(PODS[:-1], own))
    assert spec["ingress"][-1] == own["extraIngress"][0]
    assert spec["egress"][-1] == own["extraEgress"][0]
