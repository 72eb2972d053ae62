"""Where 200 inference and 2,000 search pods go, by the real scheduler.

The nodes are simulated: objects that say they are Ready and what they have. Pods are bound to them and start nowhere.
It takes a minute or two of both cores and runs where RETROGRADE_PLACEMENT is set.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.namespaces import Namespace
from tests.control_plane import Cluster, until

GPU_NODES, GPUS, CPU_NODES = 25, 8, 20
INFERENCE, SEARCH = GPU_NODES * GPUS, 2000
KIND = "tests/simulated"

pytestmark = [
    pytest.mark.skipif("RETROGRADE_PLACEMENT" not in os.environ, reason="set RETROGRADE_PLACEMENT to place 2,200 pods"),
    pytest.mark.timeout(1800),
]


def simulated(name: str, taints: list[dict[str, str]], has: dict[str, str]) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "Simulated"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, KIND: "true"}},
        "spec": {"taints": taints},
        "status": {"capacity": has, "allocatable": has, "conditions": [ready]},
    }


def gpu_node(number: int) -> dict[str, Any]:
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    has = {"cpu": "192", "memory": "2Ti", "ephemeral-storage": "2Ti", "pods": "110", "nvidia.com/gpu": str(GPUS)}
    return simulated(f"gpu-{number:02d}", [taint], has)


def cpu_node(number: int) -> dict[str, Any]:
    has = {"cpu": "64", "memory": "256Gi", "pods": "250"}
    return simulated(f"cpu-{number:02d}", [], has)


@pytest.fixture
def nodes(control_plane: Cluster) -> Iterator[None]:
    made = [gpu_node(i) for i in range(GPU_NODES)] + [cpu_node(i) for i in range(CPU_NODES)]
    control_plane.kubectl("create", "-f-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    yield
    control_plane.kubectl("delete", "nodes", f"--selector={KIND}")


def placed(namespace: Namespace, component: str) -> Counter[str]:
    """Pods of a component by the node they were bound to; "" for those that wait."""
    pods = namespace.objects("pods", f"--selector=app.kubernetes.io/component={component}")
    return Counter(pod["spec"].get("nodeName", "") for pod in pods)


@pytest.mark.usefixtures("nodes")
def test_pods_are_placed_where_they_should_be(namespace: Namespace) -> None:
    """Each GPU of 25 nodes gets one of 200 engines; 2,000 search pods all get a node, and none of those with GPUs."""
    namespace.install("gpu", "--set", f"inference.replicas={INFERENCE},search.replicas={SEARCH},model.claim=")
    until(lambda: placed(namespace, "inference").total() == INFERENCE, "200 engines", seconds=900)
    until(lambda: placed(namespace, "search").total() == SEARCH, "2,000 search pods", seconds=900)
    until(lambda: not placed(namespace, "inference")[""], "engines without a node", seconds=900)
    until(lambda: not placed(namespace, "search")[""], "search pods without a node", seconds=900)
    assert placed(namespace, "inference") == {f"gpu-{i:02d}": GPUS for i in range(GPU_NODES)}
    assert set(placed(namespace, "search")) == {f"cpu-{i:02d}" for i in range(CPU_NODES)}
