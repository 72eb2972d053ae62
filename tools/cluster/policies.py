"""NetworkPolicies of a node of tools/cluster, enforced by the kernel: what they do not allow is dropped.

The node's CNI plugin enforces none. Here they become rules of nftables, as networking.k8s.io/v1 defines them: a pod
that a policy selects for a direction is let out, or in, as one of those policies says and not else. Answers always
pass, and what the node itself sends to its pods; a pod's rules come within a second or two of its address. Labels are
compared one by one and ports are numbers: whatever else a policy asks for is refused and not ignored.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from retrograde.cli.servers.obtain import run_tool
from retrograde.runtime.errors import InvalidInputError
from tools.cluster.identities import Identities
from tools.cluster.node import debian_environment

Object = Mapping[str, Any]
"""Of Kubernetes."""
_TABLE = "inet retrograde_policies"
_ANSWER_SECONDS = 10.0
_LISTS = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}


@dataclass(frozen=True, slots=True)
class _Direction:
    """One of a policy's two: its type and keys there, and what a rule compares with the other end's address."""

    type: str
    rules: str
    peers: str
    chain: str
    address: str


_OUT = _Direction("Egress", "egress", "to", "out", "ip daddr")
_IN = _Direction("Ingress", "ingress", "from", "in", "ip saddr")


@dataclass(frozen=True)
class State:
    """All pods, namespaces and policies of a cluster at about one time."""

    pods: Sequence[Object]
    namespaces: Sequence[Object]
    policies: Sequence[Object]

    def ruleset(self) -> str:
        """The table that enforces the policies, for `nft -f`: it replaces the last one at once."""
        out, into = dict(self._chains(_OUT)), dict(self._chains(_IN))
        leaving, entering = _jumps("ip saddr", out), _jumps("ip daddr", into)
        chains = "".join(f"  chain {name} {{\n{rules}  }}\n" for name, rules in {**out, **into}.items())
        hooks = _hook("forward", leaving + entering) + _hook("input", leaving)
        return f"add table {_TABLE}\ndelete table {_TABLE}\ntable {_TABLE} {{\n{chains}{hooks}}}\n"

    def _chains(self, direction: _Direction) -> Iterator[tuple[str, str]]:
        """Name and rules of the chain of each pod that is isolated."""
        for pod in self.pods:
            if (address := _address(pod)) and (policies := self._isolating(pod, direction)):
                allowed = [rule for policy in policies for rule in self._allowed(policy, direction)]
                rules = "".join(f"    {rule} return\n" for rule in dict.fromkeys(allowed))
                yield f"{direction.chain}-{address}", f"{rules}    counter drop\n"

    def _isolating(self, pod: Object, direction: _Direction) -> list[Object]:
        """The policies that select a pod for this direction."""
        namespace = pod["metadata"]["namespace"]
        own = [policy for policy in self.policies if policy["metadata"]["namespace"] == namespace]
        own = [policy for policy in own if direction.type in policy["spec"]["policyTypes"]]
        return [policy for policy in own if _selects(policy["spec"].get("podSelector", {}), pod)]

    def _allowed(self, policy: Object, direction: _Direction) -> Iterator[str]:
        for rule in policy["spec"].get(direction.rules, ()):
            addresses = self._peers(policy["metadata"]["namespace"], rule.get(direction.peers, ()), direction)
            for port in rule.get("ports") or [None]:
                yield from (f"{each} {_port(port)}".strip() for each in addresses)

    def _peers(self, namespace: str, peers: Sequence[Object], direction: _Direction) -> list[str]:
        """A comparison for each kind of peer; one that is always true where there are none."""
        if not peers:
            return ["meta nfproto ipv4"]
        found = [_block(peer["ipBlock"], direction) for peer in peers if "ipBlock" in peer]
        chosen = [pod for peer in peers if "ipBlock" not in peer for pod in self._chosen(namespace, peer)]
        addresses = dict.fromkeys(address for pod in chosen if (address := _address(pod)))
        return found + [f"{direction.address} {{ {', '.join(addresses)} }}"] * bool(addresses)

    def _chosen(self, namespace: str, peer: Object) -> list[Object]:
        """The pods that a peer's selectors mean: of the policy's own namespace, unless it selects namespaces."""
        if (selector := peer.get("namespaceSelector")) is None:
            names = {namespace}
        else:
            names = {each["metadata"]["name"] for each in self.namespaces if _selects(selector, each)}
        near = [pod for pod in self.pods if pod["metadata"]["namespace"] in names]
        return [pod for pod in near if _selects(peer.get("podSelector", {}), pod)]


class Policies:
    """Keeps the kernel's rules to what the API server tells."""

    def __init__(self, folder: Path, identities: Identities, server: str) -> None:
        folder.mkdir()
        files = identities.certificate("policies", subject="/O=system:masters/CN=policies", names="DNS:policies")
        self._context = ssl.create_default_context(cafile=identities.authority)
        self._context.load_cert_chain(*files)
        self._server, self._file, self._ruleset = server, folder / "rules.nft", ""

    def enforce(self) -> None:
        """Those of now; while the API server does not answer, the last ones stay."""
        try:
            state = State(**{name: self._list(path) for name, path in _LISTS.items()})
        except (OSError, HTTPException):
            return
        ruleset = state.ruleset()
        if ruleset != self._ruleset:
            self._file.write_text(ruleset, encoding="utf-8")
            run_tool(["nft", "-f", str(self._file)], debian_environment())
            self._ruleset = ruleset

    def _list(self, path: str) -> list[Object]:
        url = f"{self._server}{path}?resourceVersion=0"  # from its memory, not from etcd's disk
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS, context=self._context) as answer:  # noqa: S310 - ours
            found: list[Object] = json.load(answer)["items"]
        return found


def _address(pod: Object) -> str:
    """Where it is reached, "" before it has begun and once it has ended: its address may then be another's."""
    status = pod["status"]
    return "" if status["phase"] in {"Succeeded", "Failed"} else status.get("podIP", "")


def _selects(selector: Object, obj: Object) -> bool:
    if selector.get("matchExpressions"):
        raise InvalidInputError(f"{selector}: matchExpressions are not enforced here: use matchLabels")
    labels = obj["metadata"].get("labels", {})
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _block(block: Object, direction: _Direction) -> str:
    excepted = [f"{direction.address} != {each}" for each in block.get("except", ())]
    return " ".join([f"{direction.address} {block['cidr']}", *excepted])


def _port(port: Object | None) -> str:
    if port is None:
        return ""
    protocol, first = port.get("protocol", "TCP").lower(), port.get("port")
    if isinstance(first, str):
        raise InvalidInputError(f"port {first}: names of ports are not enforced here: use its number")
    if first is None:
        return f"meta l4proto {protocol}"
    return f"{protocol} dport {first}" + (f"-{port['endPort']}" if "endPort" in port else "")


def _jumps(address: str, chains: Mapping[str, str]) -> str:
    jumps = ", ".join(f"{name.partition('-')[2]} : jump {name}" for name in chains)
    return f"    {address} vmap {{ {jumps} }}\n" if jumps else ""


def _hook(name: str, rules: str) -> str:
    """After kube-proxy has put a pod's address in the place of a Service's."""
    kind = f"type filter hook {name} priority 10; policy accept;"
    return f"  chain {name} {{\n    {kind}\n    ct state established,related accept\n{rules}  }}\n"
