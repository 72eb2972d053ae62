"""The release under test on the real node: its pods, what they tell of themselves, and clients that call it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograde.runtime.lifeline import die_with_parent
from tests.cluster.namespaces import ROOT, Namespace
from tests.control_plane import until

SERVICES = ("verifier", "inference", "search", "rewriter", "rollouts", "trainer")
PATIENCE_SECONDS = 600.0  # a pod on a busy machine, its engine included
FROM_LOGS = 'source="log"'


def grown(before: float, now: float) -> float:
    """How much a counter has counted at least: with its container it begins at 0 again."""
    return now - before if now >= before else now


@dataclass
class Load:
    """A process of `loads`, at work or ended."""

    name: str
    process: subprocess.Popen[str]
    folder: Path

    def has_begun(self) -> bool:
        """Whether a call was answered."""
        return (self._at_work() / "begun").exists()

    def num_ended(self) -> int:
        """How many of its runs have ended whole."""
        return len(list(self._at_work().glob("*.ended")))

    def finish(self) -> None:
        """Tells it to stop; shows what it did."""
        (self.folder / "stop").touch()
        told, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == 0, self.errors()
        print(self.name, told)  # noqa: T201 - for `pytest -s`

    def errors(self) -> str:
        return (self.folder / "errors").read_text(encoding="utf-8")[-5000:]

    def _at_work(self) -> Path:
        """Its folder. Fails with its error when it has ended."""
        assert self.process.poll() is None, self.errors()
        return self.folder


class Release(Namespace):
    """The release, named as its namespace."""

    def pods(self, service: str) -> list[dict[str, Any]]:
        """Its pods but those that are told to end."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={service}"
        return [pod for pod in self.objects("pods", f"-l{selector}") if "deletionTimestamp" not in pod["metadata"]]

    def identities(self, *services: str) -> set[str]:
        """Of all pods of these services."""
        return {pod["metadata"]["uid"] for service in services for pod in self.pods(service)}

    def restart(self, service: str) -> None:
        """Replaces its pods as an upgrade does."""
        self.kubectl("rollout", "restart", self.workload(service))
        self.settle(service)

    def scale(self, service: str, replicas: int) -> None:
        """Returns once as many pods are Ready, and no other is there, not even one that is leaving."""
        self.kubectl("scale", self.workload(service), f"--replicas={replicas}")
        self.settle(service)
        selector = f"-lapp.kubernetes.io/component={service}"
        until(lambda: len(self.objects("pods", selector)) == replicas, f"{replicas} of {service}", PATIENCE_SECONDS)

    def settle(self, *services: str) -> None:
        """Waits until all pods of these services are Ready and of the newest kind."""
        for service in services:
            self.kubectl("rollout", "status", self.workload(service), f"--timeout={PATIENCE_SECONDS:.0f}s")

    def workload(self, service: str) -> str:
        return f"{'statefulset' if service == 'inference' else 'deployment'}/{self.name}-{service}"

    def metric(self, pod: str, name: str, label: str = "") -> float:
        """Sum over the series of a metric that have the label; 0 while the pod does not answer."""
        with contextlib.suppress(AssertionError):
            page = self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.name}/pods/{pod}:9090/proxy/metrics")
            lines = [line.rpartition(" ") for line in page.splitlines() if line.partition("{")[0].startswith(name)]
            return sum(float(value) for series, _, value in lines if label in series)
        return 0.0

    def busy(self) -> list[str]:
        """Names of the search pods that have trees in hand."""
        return [name for name, value in self._search_metric("retrograde_search_trees_in_flight").items() if value > 0]

    def continued(self) -> dict[str, float]:
        """Calls of trees begun before that search pods did not ask again, but read from the trees' logs; by pod."""
        return self._search_metric("retrograde_search_calls_total", FROM_LOGS)

    def goes_on(self, load: Load, before: dict[str, float]) -> bool:
        """Whether trees are continued from their logs; False once a run has ended and none was.

        Idle pods say nothing: they are idle too until Kafka gives them the partitions of a pod that ended.
        """
        num_ended = load.num_ended()

        def number() -> float:
            return sum(grown(before.get(pod, 0.0), value) for pod, value in self.continued().items())

        def holds() -> bool:
            return number() > 0 or load.num_ended() > num_ended

        until(holds, "trees that go on, or a run's end", PATIENCE_SECONDS)
        return number() > 0

    def _search_metric(self, name: str, label: str = "") -> dict[str, float]:
        names = [pod["metadata"]["name"] for pod in self.pods("search")]
        with ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(lambda pod: self.metric(pod, name, label), names), strict=True))

    def restarts(self, pod: str) -> int:
        """How often its container was started again."""
        return int(self.kubectl("get", "pod", pod, "-ojsonpath={.status.containerStatuses[0].restartCount}"))

    def ended_by(self, pod: str) -> str:
        """Why its container ended last."""
        return self.kubectl("get", "pod", pod, "-ojsonpath={.status.containerStatuses[0].lastState.terminated.reason}")

    def until_busy(self, load: Load, num_pods: int = 1) -> None:
        """Waits until so many search pods have trees in hand."""

        def holds() -> bool:
            return load.has_begun() and len(self.busy()) >= num_pods

        until(holds, f"{num_pods} search pods at work", PATIENCE_SECONDS)

    def evict(self, pod: dict[str, Any]) -> None:
        """Asks the eviction API, as a drain does. Fails where that would exceed a budget."""
        name = pod["metadata"]["name"]
        asked = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": self.name}}
        path = f"/api/v1/namespaces/{self.name}/pods/{name}/eviction"
        self.kubectl("create", "--raw", path, "-f-", given=json.dumps(asked))

    @contextlib.contextmanager
    def load(self, name: str, folder: Path) -> Iterator[Load]:
        """The clients of a load (see `loads`), at work while the block runs; after it, all they did has succeeded."""
        command = [*self.cluster.prefix, sys.executable, "-m", "tests.cluster.node.loads", name, str(folder)]
        with (
            (folder / "errors").open("w") as errors,
            subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
            ) as process,
        ):
            load = Load(name, process, folder)
            try:
                until(load.has_begun, f"the first answer to {name}", PATIENCE_SECONDS)
                yield load
                load.finish()
            finally:
                process.kill()
