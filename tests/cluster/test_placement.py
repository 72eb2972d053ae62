"""Where engines and search pods go on a hundred simulated machines, by the real scheduler and controllers.

KWOK answers for the nodes: pods become Running and Ready, and nothing runs. At full size, 200 engines and 2,000 search
pods, it takes minutes of both cores and runs where RETROGRADE_PLACEMENT is set; elsewhere it is the same in small.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.namespaces import CHART, Namespace, profile
from tests.control_plane import Cluster, until
from tests.servers import need
from tools.cluster.kwok import SIMULATED, Kwok, simulated_node
from tools.cluster.obtain import KWOK

Object = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How many pods, on how many nodes in each of three zones; a node less still has room for all."""

    engines: int
    searchers: int
    gpu_nodes: int
    gpus: int
    cpu_nodes: int


SIZE = Size(200, 2000, 10, 8, 8) if "RETROGRADE_PLACEMENT" in os.environ else Size(8, 40, 2, 2, 2)
ZONES = ("a", "b", "c")
SECONDS = 900
LOST = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
EVENLY = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
VALUES = {
    "model.claim": "",
    "inference.replicas": SIZE.engines,
    "inference.tolerations[1]": LOST,
    "inference.topologySpreadConstraints[1]": EVENLY,
    "search.replicas": SIZE.searchers,
    "search.tolerations": [LOST],
    "search.topologySpreadConstraints": [EVENLY],
}
"""Over values-gpu.yaml: as many in each zone, and gone from a lost node after seconds instead of five minutes."""

pytestmark = pytest.mark.timeout(2 * SECONDS)


def gpu_node(zone: str, number: int) -> Object:
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    has = {"cpu": "192", "memory": "2Ti", "ephemeral-storage": "2Ti", "pods": "110", "nvidia.com/gpu": str(SIZE.gpus)}
    return simulated_node(f"gpu-{zone}-{number}", zone, has, [taint])


def cpu_node(zone: str, number: int) -> Object:
    has = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}
    return simulated_node(f"cpu-{zone}-{number}", zone, has)


@pytest.fixture(scope="module")
def nodes(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nodes with and without GPUs in three zones, all Ready."""
    need(KWOK.folder)
    made = [gpu_node(zone, i) for zone in ZONES for i in range(SIZE.gpu_nodes)]
    made += [cpu_node(zone, i) for zone in ZONES for i in range(SIZE.cpu_nodes)]
    with Kwok(tmp_path_factory.mktemp("kwok"), control_plane.kubeconfig):
        control_plane.kubectl("create", "-f-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
        control_plane.kubectl("wait", "nodes", f"--selector={SIMULATED}", "--for=condition=Ready", "--timeout=120s")
        yield
        control_plane.kubectl("delete", "nodes", *(node["metadata"]["name"] for node in made))


@pytest.fixture(scope="module")
def release(control_plane: Cluster, nodes: None, helm_binary: str) -> Iterator[Namespace]:  # noqa: ARG001 - there first
    """The whole platform, installed with as many pods as SIZE says, once all are Ready."""
    control_plane.make_namespace("placement", {"pod-security.kubernetes.io/enforce": "restricted"})
    made = Namespace(control_plane, "placement", helm_binary)
    values = [word for key, value in VALUES.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    made.helm("install", made.name, CHART, *profile("gpu"), *values, "--wait", f"--timeout={SECONDS}s")
    yield made
    made.helm("uninstall", made.name)
    control_plane.kubectl("delete", "namespace", made.name, f"--timeout={SECONDS}s")


def places(release: Namespace, component: str, *arguments: str) -> dict[str, str]:
    """The node of each pod of a component that was not told to leave; `<none>` for one that waits.

    It is read from kubectl's table, which the API server makes: 2,000 pods as objects would be a hundred times as much.
    """
    selector = f"--selector=app.kubernetes.io/component={component}"
    rows = release.kubectl("get", "pods", selector, "--no-headers", "-owide", *arguments).splitlines()
    return {row.split()[0]: row.split()[-3] for row in rows if "Terminating" not in row}


def all_placed(release: Namespace) -> bool:
    """Whether there are as many engines and search pods as SIZE says, each on a node."""
    engines, searchers = places(release, "inference").values(), places(release, "search").values()
    return (len(engines), len(searchers)) == (SIZE.engines, SIZE.searchers) and "<none>" not in {*engines, *searchers}


def ready(release: Namespace) -> dict[str, int]:
    """Pods that are Ready, by workload."""
    workloads = release.objects("deployments,statefulsets")
    return {each["metadata"]["name"]: each["status"].get("readyReplicas", 0) for each in workloads}


def scale_search(release: Namespace, replicas: int) -> None:
    """Returns once there are so many, all Ready."""
    deployment = f"deployment/{release.name}-search"
    release.kubectl("scale", deployment, f"--replicas={replicas}")
    for field in ("replicas", "availableReplicas"):
        release.kubectl("wait", deployment, f"--for=jsonpath={{.status.{field}}}={replicas}", f"--timeout={SECONDS}s")


def zones(found: dict[str, str]) -> Counter[str]:
    return Counter(node.split("-")[1] for node in found.values())


def assert_well_placed(release: Namespace, without: frozenset[str] = frozenset()) -> None:
    """Engines have GPUs and search pods have none, as many in one zone as in another but for one, and none waits."""
    assert all_placed(release)
    engines, searchers = places(release, "inference"), places(release, "search")
    for kind, found in (("gpu", engines), ("cpu", searchers)):
        assert {node.split("-")[0] for node in found.values()} == {kind}
        assert not without & set(found.values())
        assert max(zones(found).values()) - min(zones(found)[zone] for zone in ZONES) <= 1
    assert max(Counter(engines.values()).values()) <= SIZE.gpus


def lose(cluster: Cluster, node: str) -> None:
    """Its machine dies: nobody speaks for it, and what looks after machines says that it is not Ready."""
    cluster.kubectl("label", "node", node, f"{SIMULATED}-")
    gone = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Lost"}]}}
    cluster.kubectl("patch", "node", node, "--subresource=status", f"--patch={json.dumps(gone)}")


def test_pods_are_placed_where_they_should_be(release: Namespace) -> None:
    """All of a release becomes Ready: engines on GPUs, search pods off them, both spread evenly over the zones."""
    assert_well_placed(release)


def test_what_was_on_a_lost_node_goes_elsewhere(control_plane: Cluster, release: Namespace) -> None:
    """Search pods are made anew at once; an engine once its node is said to be out of service, never twice."""
    engines, searchers = places(release, "inference"), places(release, "search")
    lost = frozenset({Counter(engines.values()).most_common(1)[0][0], Counter(searchers.values()).most_common(1)[0][0]})
    whole = ready(release)
    for node in lost:
        lose(control_plane, node)
        here = f"--field-selector=spec.nodeName={node}"
        until(lambda here=here: not places(release, "search", here), f"search pods of {node} told to leave", SECONDS)
    left = {name: node for name, node in engines.items() if node not in lost}
    until(lambda: places(release, "inference") == left, "engines told to leave, and no others instead", SECONDS)
    control_plane.kubectl("taint", "nodes", *lost, "node.kubernetes.io/out-of-service=dead:NoExecute")
    until(lambda: all_placed(release), "as many as before", SECONDS)
    until(lambda: ready(release) == whole, "all Ready again", SECONDS)
    assert_well_placed(release, without=lost)


def test_scaling_in_and_out_moves_nobody_else(release: Namespace) -> None:
    """From all search pods to a tenth and back: those that stay and the engines stay where they are."""
    engines, before = places(release, "inference"), places(release, "search")
    scale_search(release, SIZE.searchers // 10)
    few = places(release, "search")
    assert few.items() <= before.items()
    assert len(few) == SIZE.searchers // 10
    scale_search(release, SIZE.searchers)
    assert few.items() <= places(release, "search").items()
    assert places(release, "inference") == engines
    assert_well_placed(release)
