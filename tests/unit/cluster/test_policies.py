"""A node's rules are what networking.k8s.io/v1 says of its NetworkPolicies."""

from __future__ import annotations

from typing import Any

import pytest

from retrograde.runtime.errors import InvalidInputError
from tools.cluster.policies import State

NAMESPACES = [{"metadata": {"name": name, "labels": {"name": name}}} for name in ("one", "other")]


def pod(address: str, app: str = "a", namespace: str = "one", phase: str = "Running") -> dict[str, Any]:
    metadata = {"namespace": namespace, "labels": {"app": app}}
    return {"metadata": metadata, "status": {"phase": phase, "podIP": address}}


def policy(app: str, *types: str, **rules: object) -> dict[str, Any]:
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": list(types), **rules}
    return {"metadata": {"namespace": "one"}, "spec": spec}


def table(pods: list[dict[str, Any]], *policies: dict[str, Any]) -> dict[str, list[str]]:
    """Name and rules of each chain."""
    blocks = State(pods, NAMESPACES, policies).ruleset().split("  chain ")[1:]
    lines = {block.partition(" {")[0]: block.splitlines()[1:] for block in blocks}
    return {name: [line.strip() for line in found if line.strip(" }")] for name, found in lines.items()}


def chains(pods: list[dict[str, Any]], *policies: dict[str, Any]) -> dict[str, list[str]]:
    """Those of pods."""
    return {name: rules for name, rules in table(pods, *policies).items() if name not in {"forward", "input"}}


def test_only_selected_pods_are_isolated() -> None:
    """A policy without rules drops all of its direction, for its pods in its namespace and for no other."""
    pods = [pod("10.0.0.1"), pod("10.0.0.2", app="b"), pod("10.0.0.3", namespace="other")]
    assert chains(pods, policy("a", "Ingress")) == {"in-10.0.0.1": ["counter drop"]}
    both = {"out-10.0.0.1": ["counter drop"], "in-10.0.0.1": ["counter drop"]}
    assert chains(pods, policy("a", "Ingress", "Egress")) == both
    assert chains(pods) == {}


def test_what_one_policy_allows_passes() -> None:
    """A pod may do what any of its policies allows."""
    peer = [{"podSelector": {"matchLabels": {"app": "b"}}}]
    first = policy("a", "Egress", egress=[{"to": peer, "ports": [{"port": 80}]}])
    second = policy("a", "Egress", egress=[{"ports": [{"port": 53, "protocol": "UDP"}, {"protocol": "SCTP"}]}])
    assert chains([pod("10.0.0.1"), pod("10.0.0.2", app="b")], first, second)["out-10.0.0.1"] == [
        "ip daddr { 10.0.0.2 } tcp dport 80 return",
        "meta nfproto ipv4 udp dport 53 return",
        "meta nfproto ipv4 meta l4proto sctp return",
        "counter drop",
    ]


@pytest.mark.parametrize(
    ("peer", "addresses"),
    [
        ({"podSelector": {}}, "10.0.0.1, 10.0.0.2"),
        ({"podSelector": {"matchLabels": {"app": "b"}}}, "10.0.0.2"),
        ({"namespaceSelector": {"matchLabels": {"name": "other"}}}, "10.0.0.3, 10.0.0.4"),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "b"}}}, "10.0.0.2, 10.0.0.4"),
    ],
)
def test_peers_are_chosen_by_labels(peer: dict[str, Any], addresses: str) -> None:
    """Pods of the policy's namespace, all pods of other namespaces, or those that both selectors mean."""
    others = [pod("10.0.0.2", app="b"), pod("10.0.0.3", namespace="other"), pod("10.0.0.4", "b", "other")]
    found = chains([pod("10.0.0.1"), *others], policy("a", "Ingress", ingress=[{"from": [peer]}]))
    assert found == {"in-10.0.0.1": [f"ip saddr {{ {addresses} }} return", "counter drop"]}


def test_a_peer_without_pods_allows_nothing() -> None:
    """No address means nobody, and not everybody; the address of a pod that has ended means nobody either."""
    only = policy("a", "Ingress", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}])
    ended = pod("10.0.0.2", app="b", phase="Succeeded")
    assert chains([pod("10.0.0.1"), ended, pod("", app="b")], only) == {"in-10.0.0.1": ["counter drop"]}


def test_blocks_and_ranges() -> None:
    """Addresses by block, less what is excepted, and ports from one to another."""
    block = {"ipBlock": {"cidr": "10.9.0.0/16", "except": ["10.9.1.0/24"]}}
    rule = {"to": [block], "ports": [{"port": 1000, "endPort": 2000}]}
    assert chains([pod("10.0.0.1")], policy("a", "Egress", egress=[rule]))["out-10.0.0.1"] == [
        "ip daddr 10.9.0.0/16 ip daddr != 10.9.1.0/24 tcp dport 1000-2000 return",
        "counter drop",
    ]


def test_both_ends_of_a_packet_are_asked() -> None:
    """What passes through the node meets its sender's rules and then its receiver's; what ends there, the sender's."""
    found = table([pod("10.0.0.1")], policy("a", "Ingress", "Egress"))
    answers, leaving = "ct state established,related accept", "ip saddr vmap { 10.0.0.1 : jump out-10.0.0.1 }"
    assert found["forward"][1:] == [answers, leaving, "ip daddr vmap { 10.0.0.1 : jump in-10.0.0.1 }"]
    assert found["input"][1:] == [answers, leaving]


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"ports": [{"port": "grpc"}]}, "port grpc"),
        ({"from": [{"podSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}]}, "matchExpressions"),
    ],
)
def test_what_is_not_enforced_is_refused(rule: dict[str, Any], named: str) -> None:
    """A policy that says more than this understands is an error that names it."""
    with pytest.raises(InvalidInputError, match=named):
        chains([pod("10.0.0.1")], policy("a", "Ingress", ingress=[rule]))
