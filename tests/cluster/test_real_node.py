"""The whole pipeline in pods of a real kubelet, under PodSecurity restricted: installed, tested, a recipe run, drills.

In the drills services are restarted, scaled, drained, killed and given TLS while clients and runs (node/loads.py) are
at work: no call of theirs may fail, and no tree and no group may be lost.

It takes root and `make cluster-tools`, and runs where RETROGRADE_NODE is set: five to ten minutes with 1, as in CI, and
five more with `full`, which adds the drills that a release deserves, but not every change. The images are those of
tools/images, and before them the archives in RETROGRADE_IMAGES: what `make images` made, saved as
registry.local/retrograde/NAME:dev. Torch and vLLM are mounted: the engine's and the jobs' pods have this environment's
packages, read-only, as a PersistentVolume of the node. Kafka and MinIO are those of k8s/dev, in images of
tools/cluster.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.certificates import Authority
from tests.cluster.namespaces import CHART, ROOT, profile
from tests.cluster.node.loads import LOADS, runs
from tests.cluster.node.reach import REACHED, foreign_pod, reached, targets
from tests.cluster.node.release import PATIENCE_SECONDS, SERVICES, Release
from tests.control_plane import Cluster, until
from tests.servers import need
from tools.cluster import dev_images
from tools.cluster.node import NODE_ADDRESS, NODE_NAME
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
    "networkPolicy": {"dns": [{"ipBlock": {"cidr": f"{NODE_ADDRESS}/32"}}]},  # CoreDNS is a process of the node
}
RESOLVED = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
"""Runs a command with other name servers, in a mount namespace of its own."""
MOST_BLOWS = 5  # until one hits in the midst of a tree: a tree takes seconds, and so does each look
HUNGRY = """
import os, signal
signal.alarm(60)
with open("/proc/1/oom_score_adj", "w") as score:
    score.write("1000")
for _ in range(128):
    if os.fork() == 0:
        signal.alarm(60)
        kept = bytearray(os.urandom(16 << 20))
        signal.pause()
signal.pause()
"""
"""Takes more memory than a search pod may, in a hundred small processes: the kernel's victim is the worker."""
PLAINTEXT = """
import asyncio, sys
from pathlib import Path
from retrograde.core.problem import Problem
from retrograde.runtime.errors import UnavailableError
from retrograde.runtime.tls import Identity
from retrograde.wire.clients import VerifierClient

async def ask(identity, patience):
    async with VerifierClient("retrograde-verifier:50051", identity=identity, patience_seconds=patience) as client:
        return await client.verify([(Problem("p", "countdown", "Numbers: 3 7 7, target: 28.", "28"), "28")])

folder = Path(sys.argv[1])
shown = Identity(authority=folder / "ca.crt", certificate=folder / "tls.crt", key=folder / "tls.key")
assert len(asyncio.run(ask(shown, 300.0))) == 1
try:
    asyncio.run(ask(None, 5.0))
except UnavailableError as error:
    print("refused:", error)
"""

NODE_DRILLS = os.environ.get("RETROGRADE_NODE", "")
full = pytest.mark.skipif(
    NODE_DRILLS != "full", reason="set RETROGRADE_NODE=full for the long drills on a real kubelet"
)

pytestmark = [
    pytest.mark.skipif(not NODE_DRILLS, reason="set RETROGRADE_NODE to run pods on a real kubelet"),
    pytest.mark.engine,
    pytest.mark.timeout(1800),
]


def archives(folder: Path) -> list[Path]:
    """All images that the pods use; those of RETROGRADE_IMAGES take the place of others of their names."""
    command = [sys.executable, "-m", "tools.images", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    given = [Path(each).absolute() for each in os.environ.get("RETROGRADE_IMAGES", "").split()]
    return [folder / "images.tar", dev_images.build(folder / "dev.tar"), *given]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose one node has all images."""
    need(need_node)
    images = archives(tmp_path_factory.mktemp("images"))
    names = tmp_path_factory.mktemp("names") / "resolv.conf"
    names.write_text(f"nameserver {NODE_ADDRESS}\nsearch {NAME}.svc.cluster.local svc.cluster.local\noptions ndots:3\n")
    with RealNode(tmp_path_factory.mktemp("cluster") / "node", images) as running:
        prefix = (*running.enter(), "unshare", "--mount", "sh", "-c", RESOLVED, str(names))
        yield Cluster(running.kubeconfig, prefix)


@pytest.fixture(scope="module")
def installed(node: Cluster, helm_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Kafka, MinIO and the chart's CPU profile in a namespace that enforces `restricted`; all pods are Ready."""
    release = Release(node, NAME, helm_binary)
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    node.make_namespace(NAME, enforced)
    for made in environment():
        node.kubectl("create", "-f-", given=json.dumps({"apiVersion": "v1"} | made))
    release.kubectl("apply", "-k", str(ROOT / "k8s" / "dev"))
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    release.helm("install", NAME, CHART, *profile("cpu"), "-f", str(values), "--wait", "--timeout", "15m")
    return release


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


def retrograde(installed: Release, *arguments: str) -> str:
    """What a `retrograde` command against the trainer writes."""
    program = str(Path(sys.executable).with_name("retrograde"))
    return installed.cluster.run(program, *arguments, "--trainer", f"{NAME}-trainer:50051")


def test_every_pod_is_restricted_and_read_only(installed: Release) -> None:
    """All containers of the release are Ready, as an ordinary user on a root that cannot be written."""
    pods = installed.objects("pods", f"--selector=app.kubernetes.io/instance={NAME}")
    states = [status["ready"] for pod in pods for status in pod["status"]["containerStatuses"]]
    assert states == [True] * 6
    contexts = [each["securityContext"] for pod in pods for each in pod["spec"]["containers"]]
    assert all(context["readOnlyRootFilesystem"] and context["runAsNonRoot"] for context in contexts)
    written = "import pathlib; pathlib.Path('/app/x').write_text('x')"
    with pytest.raises(AssertionError, match="Read-only file system"):
        installed.kubectl("exec", "deploy/retrograde-verifier", "--", "python", "-c", written)


@pytest.fixture(scope="module")
def stranger(installed: Release) -> str:
    """A pod in the release's namespace that is not of the release."""
    installed.create(foreign_pod("stranger", installed.pods("verifier")[0]))
    installed.kubectl("wait", "--for=condition=Ready", "pod/stranger", f"--timeout={PATIENCE_SECONDS:.0f}s")
    return "stranger"


def test_pods_reach_whom_they_may_call(installed: Release) -> None:
    """Connections that the policies allow are made, all others dropped."""
    everybody = targets(installed)

    def from_pod(service: str) -> set[str]:
        others = {name: address for name, address in everybody.items() if name != service}
        return reached(installed, installed.pods(service)[0]["metadata"]["name"], others)

    with ThreadPoolExecutor(len(SERVICES)) as threads:
        assert dict(zip(SERVICES, threads.map(from_pod, SERVICES), strict=True)) == REACHED


def test_clients_come_in_by_their_label(installed: Release, stranger: str) -> None:
    """Another pod of the namespace reaches no service until it is labelled a client, and all of them then."""
    everybody = targets(installed)
    assert reached(installed, stranger, everybody) == {"kafka", "minio", "api"}
    installed.kubectl("label", "pod", stranger, "retrograde.dev/client=true")
    until(lambda: reached(installed, stranger, everybody) == set(everybody), "all are reached", PATIENCE_SECONDS)


def test_helm_test(installed: Release) -> None:
    """`helm test` searches one problem through search, inference and verifier."""
    assert "Succeeded" in installed.helm("test", NAME, "--timeout", "10m")


def test_recipe(installed: Release, tmp_path: Path) -> None:
    """A submitted recipe runs to its report; each of its two trainings was an Indexed Job of two pods."""
    checkpoint = ("--checkpoint", "/app/models/countdown-base")
    retrograde(installed, "submit", str(RECIPE), *checkpoint, "--run-id", "first", "--watch")
    jobs = installed.objects("jobs")
    assert [(job["spec"]["completionMode"], job["status"]["succeeded"]) for job in jobs] == [("Indexed", 2)] * 2
    retrograde(installed, "report", "first", "--to", str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(report["arms"]) == ["base", "astro_sft", "astro_rl"]


@pytest.mark.parametrize("service", SERVICES)
def test_rolling_restart_under_load(installed: Release, tmp_path: Path, service: str) -> None:
    """No call of a service's clients fails while its pods are replaced, and no tree and no group is lost."""
    with installed.load(service, tmp_path) as load:
        before = installed.identities(service)
        if runs in LOADS[service]:
            installed.until_busy(load)
        installed.restart(service)
        assert not before & installed.identities(service)


@full
def test_scale_in_loses_no_tree(installed: Release, tmp_path: Path) -> None:
    """4 search pods in the midst of trees become 1, which goes on with them, and 4 again: no tree is lost."""

    def hits() -> bool:
        installed.scale("search", 4)
        installed.until_busy(load, 4)
        before = installed.continued()
        installed.scale("search", 1)
        return installed.goes_on(load, before)

    with installed.load("scale-in", tmp_path) as load:
        assert any(hits() for _ in range(MOST_BLOWS))
        installed.scale("search", 4)
        installed.until_busy(load, 4)
    installed.scale("search", 1)


def test_evictions_keep_to_the_budget(installed: Release) -> None:
    """Of two search pods one may be evicted; the other one only when the first is replaced."""
    installed.scale("search", 2)
    budget = "-ojsonpath={.status.expectedPods}-{.status.disruptionsAllowed}"
    until(lambda: installed.kubectl("get", "pdb", f"{NAME}-search", budget) == "2-1", "a budget of one pod of two")
    first, second = installed.pods("search")
    installed.evict(first)
    with pytest.raises(AssertionError, match="disruption budget"):
        installed.evict(second)
    installed.settle("search")
    installed.scale("search", 1)


@full
def test_a_drained_node_loses_no_work(installed: Release, tmp_path: Path) -> None:
    """`kubectl drain` evicts all pods of the release in the midst of trees; once they are back all runs end whole."""
    chosen = f"--pod-selector=app.kubernetes.io/instance={NAME}"  # Kafka's and MinIO's disks would be lost
    with installed.load("drain", tmp_path) as load:
        installed.until_busy(load)
        before = installed.identities(*SERVICES)
        installed.kubectl("drain", NODE_NAME, chosen, "--delete-emptydir-data", "--timeout=600s")
        installed.kubectl("uncordon", NODE_NAME)
        installed.settle(*SERVICES)
        assert not before & installed.identities(*SERVICES)


@full
def test_killed_pods_lose_no_work(installed: Release, tmp_path: Path) -> None:
    """Pods of all services but the engine's are killed in the midst of trees, without a word: all runs end whole."""
    killed = [service for service in SERVICES if service != "inference"]
    chosen = f"-lapp.kubernetes.io/instance={NAME},app.kubernetes.io/component in ({','.join(killed)})"
    with installed.load("kill", tmp_path) as load:
        installed.until_busy(load)
        installed.kubectl("delete", "pods", chosen, "--force", "--grace-period=0")
        installed.settle(*killed)


@full
def test_a_worker_without_memory(installed: Release, tmp_path: Path) -> None:
    """A search worker that the kernel kills for memory mid-tree is OOMKilled; others go on with its trees' logs."""
    installed.scale("search", 2)
    victim = installed.pods("search")[0]["metadata"]["name"]

    def hits() -> bool:
        installed.until_busy(load, 2)
        before, restarts = installed.continued(), installed.restarts(victim)
        with pytest.raises(AssertionError):  # it ends with the container
            installed.kubectl("exec", victim, "--", "python", "-c", HUNGRY)
        until(lambda: installed.restarts(victim) > restarts, "the container's end", PATIENCE_SECONDS)
        assert installed.ended_by(victim) == "OOMKilled"
        return installed.goes_on(load, before)

    with installed.load("memory", tmp_path) as load:
        assert any(hits() for _ in range(MOST_BLOWS))
    installed.scale("search", 1)


@full
def test_mutual_tls(installed: Release, tmp_path: Path) -> None:
    """Upgraded to `tls.enabled`, the release passes `helm test`, takes a caller's certificate and refuses plaintext."""
    authority = Authority(tmp_path / "authority")
    asked_for = installed.template(*profile("cpu"), "--set", "tls.enabled=true,tls.certManager.enabled=true")
    for made in yaml.safe_load_all(asked_for):
        if made["kind"] == "Certificate":
            secret = made["spec"]["secretName"]
            authority.issue(tmp_path / secret, *(f"DNS:{name}" for name in made["spec"]["dnsNames"]))
            files = [f"--from-file={tmp_path / secret / file}" for file in ("tls.crt", "tls.key", "ca.crt")]
            installed.kubectl("create", "secret", "generic", secret, *files)
    tls = ("--reuse-values", "--set", "tls.enabled=true")
    installed.helm("upgrade", NAME, CHART, *tls, "--wait", "--timeout", "15m")
    assert "Succeeded" in installed.helm("test", NAME, "--timeout", "10m")
    asked = installed.cluster.run(sys.executable, "-c", PLAINTEXT, str(tmp_path / f"{NAME}-test-tls"))
    assert asked.startswith("refused:")
