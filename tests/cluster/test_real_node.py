"""The whole pipeline in pods of a real kubelet, under PodSecurity restricted: installed, tested, and a recipe run.

It takes about ten minutes, root and `make cluster-tools`, and runs where RETROGRADE_NODE is set. The images are those
of tools/images. Torch and vLLM are not in them: the engine's and the jobs' pods mount this environment's packages,
read-only, as a PersistentVolume of the node. Kafka and MinIO are those of k8s/dev, in images of tools/cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.namespaces import CHART, ROOT, Namespace, profile
from tests.control_plane import Cluster
from tests.servers import need
from tools.cluster import dev_images
from tools.cluster.real_node import RealNode, need_node

RECIPE = ROOT / "tests" / "data" / "kubernetes" / "recipe.yaml"
NAME = "retrograde"
MOUNT = "/opt/retrograde/environment"
VOLUME = {"name": "environment", "persistentVolumeClaim": {"claimName": "environment", "readOnly": True}}
MOUNTED = {
    "extraVolumes": [VOLUME],
    "extraVolumeMounts": [{"name": "environment", "mountPath": MOUNT, "readOnly": True}],
}
VALUES: dict[str, Any] = {
    "image": {"prefix": "registry.local/retrograde/", "tag": "dev"},
    "inference": MOUNTED,
    "job": MOUNTED | {"backend": "indexed"},
}
LOAD = """
import asyncio, sys
from pathlib import Path
from retrograde.core.problem import Problem
from retrograde.wire.clients import VerifierClient

async def call(address, stop):
    problem, calls = Problem("p", "countdown", "Numbers: 3 7 7, target: 28.", "28"), 0
    async with VerifierClient(address) as client:
        while not stop.exists():
            await client.verify([(problem, "3*7+7 = 28")])
            calls += 1
    print(calls)

asyncio.run(call(sys.argv[1], Path(sys.argv[2])))
"""

pytestmark = [
    pytest.mark.skipif("RETROGRADE_NODE" not in os.environ, reason="set RETROGRADE_NODE to run pods on a real kubelet"),
    pytest.mark.engine,
    pytest.mark.timeout(1800),
]


def archives(folder: Path) -> list[Path]:
    """All images that the pods use."""
    command = [sys.executable, "-m", "tools.images", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return [folder / "images.tar", dev_images.build(folder / "dev.tar")]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose one node has all images."""
    need(need_node)
    images = archives(tmp_path_factory.mktemp("images"))
    with RealNode(tmp_path_factory.mktemp("cluster") / "node", images) as running:
        yield Cluster(running.kubeconfig, tuple(running.enter()))


@pytest.fixture(scope="module")
def installed(node: Cluster, helm_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """Kafka, MinIO and the chart's CPU profile in a namespace that enforces `restricted`; all pods are Ready."""
    namespace = Namespace(node, NAME, helm_binary)
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    node.make_namespace(NAME, enforced)
    for made in environment():
        node.kubectl("create", "-f-", given=json.dumps({"apiVersion": "v1"} | made))
    namespace.kubectl("apply", "-k", str(ROOT / "k8s" / "dev"))
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    namespace.helm("install", NAME, CHART, *profile("cpu"), "-f", str(values), "--wait", "--timeout", "15m")
    return namespace


def environment() -> list[dict[str, Any]]:
    """This environment's packages as a volume; of type hostPath, the kubelet never changes who owns them."""
    shared = {"accessModes": ["ReadOnlyMany"], "storageClassName": ""}
    packages = {"path": sysconfig.get_paths()["purelib"], "type": "Directory"}
    volume = shared | {"capacity": {"storage": "10Gi"}, "hostPath": packages}
    claim = shared | {"volumeName": "environment", "resources": {"requests": {"storage": "10Gi"}}}
    return [
        {"kind": "PersistentVolume", "metadata": {"name": "environment"}, "spec": volume},
        {"kind": "PersistentVolumeClaim", "metadata": {"name": "environment", "namespace": NAME}, "spec": claim},
    ]


def address(installed: Namespace, service: str) -> str:
    """Where a service answers, inside."""
    found = installed.objects("services", f"--field-selector=metadata.name={NAME}-{service}")
    return f"{found[0]['spec']['clusterIP']}:50051"


def retrograde(installed: Namespace, *arguments: str) -> str:
    """What a `retrograde` command against the trainer writes."""
    program = str(Path(sys.executable).with_name("retrograde"))
    return installed.cluster.run(program, *arguments, "--trainer", address(installed, "trainer"))


def test_every_pod_is_restricted_and_read_only(installed: Namespace) -> None:
    """All containers of the release are Ready, as an ordinary user on a root that cannot be written."""
    pods = installed.objects("pods", f"--selector=app.kubernetes.io/instance={NAME}")
    states = [status["ready"] for pod in pods for status in pod["status"]["containerStatuses"]]
    assert states == [True] * 6
    contexts = [each["securityContext"] for pod in pods for each in pod["spec"]["containers"]]
    assert all(context["readOnlyRootFilesystem"] and context["runAsNonRoot"] for context in contexts)
    written = "import pathlib; pathlib.Path('/app/x').write_text('x')"
    with pytest.raises(AssertionError, match="Read-only file system"):
        installed.kubectl("exec", "deploy/retrograde-verifier", "--", "python", "-c", written)


def test_helm_test(installed: Namespace) -> None:
    """`helm test` searches one problem through search, inference and verifier."""
    assert "Succeeded" in installed.helm("test", NAME, "--timeout", "10m")


def test_rolling_restart_under_load(installed: Namespace, tmp_path: Path) -> None:
    """No call of a client fails while the verifier's pod is replaced twice."""
    stop = tmp_path / "stop"
    command = [*installed.cluster.prefix, sys.executable, "-c", LOAD, address(installed, "verifier"), str(stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        try:
            for _ in range(2):
                installed.kubectl("rollout", "restart", "deploy/retrograde-verifier")
                installed.kubectl("rollout", "status", "deploy/retrograde-verifier", "--timeout=300s")
        finally:
            stop.touch()
        calls, failure = load.communicate()
    assert load.returncode == 0, failure
    assert int(calls) > 0


def test_recipe(installed: Namespace, tmp_path: Path) -> None:
    """A submitted recipe runs to its report; each of its two trainings was an Indexed Job of two pods."""
    checkpoint = ("--checkpoint", "/app/models/countdown-base")
    retrograde(installed, "submit", str(RECIPE), *checkpoint, "--run-id", "first", "--watch")
    jobs = installed.objects("jobs")
    assert [(job["spec"]["completionMode"], job["status"]["succeeded"]) for job in jobs] == [("Indexed", 2)] * 2
    retrograde(installed, "report", "first", "--to", str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(report["arms"]) == ["base", "astro_sft", "astro_rl"]
