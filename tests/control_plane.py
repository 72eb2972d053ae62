"""A real Kubernetes control plane for tests: one API server, etcd, controllers and scheduler for the whole session.

Use namespaces and names of your own. Where its programs were not obtained (`make control-plane`) the test is skipped
with a line that says so; with CI=true it fails.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import need
from tools.cluster.control_plane import ControlPlane
from tools.cluster.obtain import CONTROL, DEBIAN

SECONDS = 120.0


@dataclass(frozen=True)
class Cluster:
    """How a test speaks to it: kubectl and helm as the administrator, or as somebody else."""

    kubeconfig: Path
    prefix: tuple[str, ...] = ()

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What kubectl writes; `given` is its standard input."""
        return self.run(str(CONTROL.folder() / "kubectl"), *arguments, given=given)

    def objects(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """All objects of a kind that the arguments select."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-ojson", *arguments))["items"]
        return found

    def make_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """A namespace that takes pods: only once it has its default account does the API server let them in."""
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
        self.kubectl("create", "-f-", given=json.dumps(made))
        self.kubectl("wait", "--namespace", name, "--for=create", "serviceaccount/default", f"--timeout={SECONDS:.0f}s")

    def run(self, *command: str, given: str = "") -> str:
        """What a command writes that reads KUBECONFIG; it must succeed."""
        result = subprocess.run(
            [*self.prefix, *command], env=self.environment(), input=given, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{' '.join(command)}:\n{result.stdout}{result.stderr}"
        return result.stdout

    def environment(self) -> Mapping[str, str]:
        return os.environ | {"KUBECONFIG": str(self.kubeconfig)}


def until(holds: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Returns once `holds` says something true; fails with `what` when it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not after {seconds:.0f} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The control plane all tests share, without any node: pods are made and stay Pending."""
    need(CONTROL.folder)
    need(DEBIAN.folder)
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as plane:
        yield Cluster(plane.kubeconfig)
