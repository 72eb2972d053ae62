"""Simulated nodes: KWOK speaks for their kubelets, so that pods bound to them are Running and Ready, and nothing runs.

A node is KWOK's while it has the label SIMULATED. Without it nobody speaks for it any more, as when its machine dies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrograde.cli.servers.local_server import HOST, LocalServer
from tools.cluster.control_plane import PODS, says_ok
from tools.cluster.obtain import KWOK

SIMULATED = "tests/simulated"
_STAGES = Path(__file__).resolve().parent / "kwok" / "stages.yaml"


class Kwok(LocalServer):
    """KWOK, as whoever `kubeconfig` is of."""

    name = "kwok"

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        super().__init__(folder)
        self.kubeconfig = kubeconfig

    def command(self) -> Sequence[str]:
        """With our stages, for the nodes with our label."""
        flags = {
            "kubeconfig": self.kubeconfig,
            "config": _STAGES,
            "cidr": PODS,
            "manage-nodes-with-label-selector": f"{SIMULATED}=true",
            "node-lease-duration-seconds": 40,
            "server-address": f"{HOST}:{self.ports[0]}",
        }
        return [str(KWOK.folder() / "kwok"), *(f"--{k}={v}" for k, v in flags.items())]

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it says that it is healthy."""
        return says_ok(f"http://{HOST}:{self.ports[0]}/healthz")


def simulated_node(
    name: str, zone: str, has: Mapping[str, str], taints: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """A node of KWOK's, with what it has."""
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone, SIMULATED: "true"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": list(taints)},
        "status": {"capacity": dict(has), "allocatable": dict(has)},
    }
