"""Training jobs, Run resources and the election on a real API server with its controllers.

There is no kubelet: the tests say what becomes of pods, by their status, and the server's controllers do the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from retrograde.runtime.errors import ConflictError, NotFoundError
from retrograde.v1 import run_pb2
from services.trainer.controller import Controller
from services.trainer.jobs import run_job
from services.trainer.kubernetes.access import from_kubeconfig
from services.trainer.kubernetes.api import KubernetesApi
from services.trainer.kubernetes.backend import INDEXED, JOBSET, KubernetesBackend, chosen_kind
from services.trainer.kubernetes.cluster import joined
from services.trainer.kubernetes.election import Election
from services.trainer.kubernetes.run_resources import FINALIZER, RunResources
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import checked_template
from services.trainer.launch import Job, JobHandle, JobState
from tests.control_plane import Cluster
from tests.unit.trainer.trainer_fakes import YAML, Told, Trainer

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "tests" / "data" / "kubernetes" / "pod_template.yaml"
_NUMBERS = itertools.count(1)
_SECONDS = 120.0


class Config(BaseModel):
    store: str = "file:///store"


@pytest.fixture
def lab(control_plane: Cluster) -> Iterator[str]:
    """A namespace that enforces PodSecurity restricted, deleted afterwards."""
    name = f"jobs-{next(_NUMBERS)}"
    control_plane.make_namespace(name, {"pod-security.kubernetes.io/enforce": "restricted"})
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def api(control_plane: Cluster) -> Iterator[KubernetesApi]:
    with KubernetesApi(from_kubeconfig(control_plane.kubeconfig)) as api:
        yield api


@pytest.fixture
def backend(api: KubernetesApi, lab: str) -> KubernetesBackend:
    template = checked_template(yaml.safe_load(TEMPLATE.read_text()), "/scratch")
    settings = LaunchSettings(backend="indexed", pod_template="t.yaml", namespace=lab)
    return KubernetesBackend(api, INDEXED, settings, template)


def job(name: str = "astro_rl") -> Job:
    return Job("run-1", name, "some.module", Config(), 2)


HANDLE = job().handle


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(_SECONDS):
        while not await condition():
            await asyncio.sleep(0.1)


class Kubelet:
    """Says what became of the pods of a namespace."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self.api, self._path = api, f"/api/v1/namespaces/{namespace}/pods"

    def pods(self) -> dict[str, dict[str, Any]]:
        """By their index, those that are not on their way out."""
        items = self.api.get(self._path)["items"]
        found = [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]
        return {pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]: pod for pod in found}

    async def ends(self, statuses: dict[str, int]) -> None:
        """Waits for the pods of these indices, and lets them leave with these statuses; returns once that is known."""

        async def are_there() -> bool:
            return statuses.keys() <= self.pods().keys()

        await until(are_there)
        for index, code in statuses.items():
            ended = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": "2026-11-21T10:00:00Z"}
            container = {"name": "train", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
            phase = "Failed" if code else "Succeeded"
            status = {"phase": phase, "containerStatuses": [{**container, "state": {"terminated": ended}}]}
            name = self.pods()[index]["metadata"]["name"]
            self.api.patch(f"{self._path}/{name}/status", {"status": status})


async def state(backend: KubernetesBackend, handle: JobHandle = HANDLE) -> JobState:
    return (await backend.status(handle)).state


async def test_a_job_is_launched_started_again_and_done(backend: KubernetesBackend, lab: str) -> None:
    """Two pods that PodSecurity restricted admits; one fails, both are made anew, and then the job succeeds."""
    kubelet, told = Kubelet(backend.api, lab), Told()
    work = asyncio.create_task(run_job(backend, job(), 3, told))
    await kubelet.ends({"1": 1})
    first = kubelet.pods()

    async def is_made_anew() -> bool:
        uids = {pod["metadata"]["uid"] for pod in kubelet.pods().values()}
        return len(uids) == 2 and uids.isdisjoint(pod["metadata"]["uid"] for pod in first.values())

    await until(is_made_anew)
    await kubelet.ends({"0": 0, "1": 0})
    await asyncio.wait_for(work, _SECONDS)
    assert [row[:3] for row in told.rows] == [
        ("started", 1),
        ("ended", 1, "failed"),
        ("started", 2),
        ("ended", 2, "succeeded"),
    ]
    assert await backend.running() == []


async def test_what_became_of_a_job_is_told_by_the_next_trainer(backend: KubernetesBackend, lab: str) -> None:
    """One that failed unseen has its pod's status in the history, one that somebody deleted is unknown: each once."""
    kubelet, told = Kubelet(backend.api, lab), Told()

    async def until_started(attempt: int) -> None:
        """By a trainer that is killed once it has told so."""
        work = asyncio.create_task(run_job(backend, job(), 9, told))

        async def is_told() -> bool:
            return told.rows[-1:] == [("started", attempt)]

        await until(is_told)
        work.cancel()
        await asyncio.wait({work})

    async def has_failed() -> bool:
        return await state(backend) is JobState.FAILED

    await until_started(1)
    await kubelet.ends({"1": 7})
    await until(has_failed)
    await until_started(2)
    await asyncio.to_thread(backend.api.delete, *_found(backend, lab))
    await until(lambda: _is_gone(backend))
    await until_started(3)
    assert [(row[2], str(row[3]).partition(": ")[2]) for row in told.rows if row[0] == "ended"] == [
        ("failed", "status 7"),
        ("unknown", "somebody deleted it, or it was kept no longer"),
    ]


def _found(backend: KubernetesBackend, namespace: str) -> tuple[str, str]:
    """(path, uid) of the only Job."""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    (found,) = backend.api.get(path)["items"]
    return f"{path}/{found['metadata']['name']}", found["metadata"]["uid"]


async def _is_gone(backend: KubernetesBackend) -> bool:
    return await state(backend) is JobState.GONE


async def test_pods_meet_under_the_name_their_service_gives(backend: KubernetesBackend, lab: str) -> None:
    """Host names and subdomain make the address that the ranks are given, and the Service selects the pods."""
    await backend.launch(job())
    kubelet = Kubelet(backend.api, lab)

    async def both() -> bool:
        return len(kubelet.pods()) == 2

    await until(both)
    pod = kubelet.pods()["0"]
    arguments = pod["spec"]["containers"][0]["args"]
    address = arguments[arguments.index("--master-addr") + 1]
    assert address == f"{pod['spec']['hostname']}.{pod['spec']['subdomain']}"
    service = backend.api.get(f"/api/v1/namespaces/{lab}/services/{pod['spec']['subdomain']}")
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert service["spec"]["clusterIP"] == "None"
    environment = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
    assert "JOB_COMPLETION_INDEX" in environment


async def test_status_2_is_a_refusal(backend: KubernetesBackend, lab: str) -> None:
    """The Job controller says so in the Job's condition, whichever pods are left."""
    await backend.launch(job())
    await Kubelet(backend.api, lab).ends({"0": 2})

    async def is_refused() -> bool:
        return await state(backend) is JobState.REFUSED

    await until(is_refused)


async def test_a_job_that_finds_no_node_says_so(backend: KubernetesBackend) -> None:
    """The scheduler's words are the reason of a job at work."""
    await backend.launch(job())

    async def is_told() -> bool:
        return "Unschedulable" in (await backend.status(HANDLE)).reason

    await until(is_told)
    assert await state(backend) is JobState.RUNNING


async def test_cancel_leaves_nothing(backend: KubernetesBackend, lab: str) -> None:
    """Job, pods, ConfigMap and Service are gone; another job of the run works on, and a restarted trainer finds it."""
    await backend.launch(job())
    await backend.launch(job("direct_rl"))
    kubelet = Kubelet(backend.api, lab)
    await backend.cancel(HANDLE)
    assert await backend.running() == [job("direct_rl").handle]
    await backend.cancel(job("direct_rl").handle)
    assert await state(backend) is JobState.GONE

    async def is_empty() -> bool:
        configs = backend.api.get(f"/api/v1/namespaces/{lab}/configmaps")["items"]
        services = backend.api.get(f"/api/v1/namespaces/{lab}/services")["items"]
        ours = [each for each in (*configs, *services) if each["metadata"].get("ownerReferences")]
        return not ours and not kubelet.pods()

    await until(is_empty)


async def test_launching_twice_at_once_makes_one_job(backend: KubernetesBackend, lab: str) -> None:
    """Two trainers that believe to lead: the second finds what the first made."""
    await asyncio.gather(backend.launch(job()), backend.launch(job()))
    jobs = backend.api.get(f"/apis/batch/v1/namespaces/{lab}/jobs")["items"]
    assert len(jobs) == 1
    await backend.launch(job())
    again = backend.api.get(f"/apis/batch/v1/namespaces/{lab}/jobs")["items"]
    assert [each["metadata"]["uid"] for each in again] == [jobs[0]["metadata"]["uid"]]


def test_a_change_that_is_late_is_not_made(control_plane: Cluster, api: KubernetesApi, lab: str) -> None:
    """The server keeps to the deadline that our changes bring with them."""
    path = f"/api/v1/namespaces/{lab}/configmaps"
    late: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}
    with pytest.raises(AssertionError, match=r"(?i)timeout|deadline"):
        control_plane.kubectl("create", f"--raw={path}?timeout=1us", "-f-", given=json.dumps(late))
    assert "late" not in [each["metadata"]["name"] for each in api.get(path)["items"]]
    api.create(path, late)


async def test_a_queue_holds_a_job_back(backend: KubernetesBackend, lab: str) -> None:
    """Kueue's label and suspend: no pod is made before somebody admits the job."""
    settings = backend.settings.model_copy(update={"queue": "team-a"})
    queued = KubernetesBackend(backend.api, INDEXED, settings, backend.template)
    await queued.launch(job())
    found = backend.api.get(f"/apis/batch/v1/namespaces/{lab}/jobs")["items"][0]
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"

    async def is_suspended() -> bool:
        return (await queued.status(HANDLE)).reason == "waits to be admitted"

    await until(is_suspended)
    assert Kubelet(backend.api, lab).pods() == {}
    backend.api.patch(f"/apis/batch/v1/namespaces/{lab}/jobs/{found['metadata']['name']}", {"spec": {"suspend": False}})
    await Kubelet(backend.api, lab).ends({"0": 0, "1": 0})


@pytest.fixture(scope="module")
def jobsets(control_plane: Cluster) -> Iterator[None]:
    """A definition of JobSets of our own, without its controller: what is proven is that the API takes them."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": "v1alpha2",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": anything},
    }
    names = {"kind": "JobSet", "plural": "jobsets", "singular": "jobset", "listKind": "JobSetList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "jobsets.jobset.x-k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {"group": "jobset.x-k8s.io", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    control_plane.kubectl("create", "-f-", given=json.dumps(definition))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/jobsets.jobset.x-k8s.io", "--timeout=120s")
    yield
    control_plane.kubectl("delete", "crd", "jobsets.jobset.x-k8s.io")


@pytest.mark.usefixtures("jobsets")
async def test_jobsets_are_used_where_they_are_served(backend: KubernetesBackend, lab: str) -> None:
    """Chosen by `auto`; launched, found at work, ended by their condition, and cancelled."""
    auto = backend.settings.model_copy(update={"backend": "auto"})

    async def are_served() -> bool:
        return chosen_kind(auto, backend.api) is JOBSET

    await until(are_served)
    chosen = KubernetesBackend(backend.api, JOBSET, auto, backend.template)
    await chosen.launch(job())
    assert await chosen.running() == [HANDLE]
    path = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{lab}/jobsets"
    name = backend.api.get(path)["items"][0]["metadata"]["name"]
    condition = {"type": "Completed", "status": "True", "reason": "AllJobsCompleted", "message": ""}
    backend.api.patch(f"{path}/{name}/status", {"status": {"conditions": [condition]}})
    assert (await state(chosen), await chosen.running()) == (JobState.SUCCEEDED, [])
    await chosen.cancel(HANDLE)
    assert await state(chosen) is JobState.GONE


async def test_one_of_two_trainers_leads(api: KubernetesApi, lab: str) -> None:
    """By a real Lease; when the leader leaves, the other takes it within a renewal."""
    lost, drain, led = asyncio.Event(), asyncio.Event(), asyncio.Event()
    first, second = (Election(api, lab, "trainer", name, 60.0, lost.set, sleep=_soon) for name in ("a", "b"))

    async def stand_by() -> None:
        async with second.won(drain) as leads:
            assert leads
            led.set()

    async with first.won(drain) as leads:
        assert leads
        with pytest.raises(ConflictError):
            api.create(f"/apis/coordination.k8s.io/v1/namespaces/{lab}/leases", {"metadata": {"name": "trainer"}})
        standing = asyncio.create_task(stand_by())
        await asyncio.sleep(1)
        assert not led.is_set()
    await asyncio.wait_for(standing, _SECONDS)
    assert led.is_set()
    assert not lost.is_set()


async def _soon(_seconds: float) -> None:
    await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def runs(control_plane: Cluster) -> None:
    """The chart's definition of runs; the chart's own tests may have it there already."""
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "charts" / "retrograde" / "crds" / "runs.yaml"))
    control_plane.kubectl("wait", "--for=condition=Established", "crd/runs.retrograde.dev", "--timeout=120s")


@contextlib.asynccontextmanager
async def carried_out(api: KubernetesApi, namespace: str, controller: Controller) -> AsyncIterator[None]:
    drain = asyncio.Event()
    work = asyncio.create_task(RunResources(api, namespace, controller).work(drain))
    try:
        yield
    finally:
        drain.set()
        await asyncio.wait_for(work, _SECONDS)


def run_yaml(name: str, recipe: str) -> str:
    return yaml.safe_dump(
        {"apiVersion": "retrograde.dev/v1alpha1", "kind": "Run", "metadata": {"name": name}, "spec": {"recipe": recipe}}
    )


@pytest.mark.usefixtures("runs")
async def test_a_run_is_applied_watched_and_deleted_with_kubectl(
    control_plane: Cluster, api: KubernetesApi, lab: str
) -> None:
    """`kubectl get runs` has state, stage and progress; deleting it cancels the run and takes it away.

    Deleted in the foreground, as some tools do: the garbage collector holds it too, and lets it go before us.
    """
    trainer = Trainer()

    async def kubectl(*arguments: str, given: str = "") -> str:
        return await asyncio.to_thread(control_plane.kubectl, "--namespace", lab, *arguments, given=given)

    async with trainer.life() as controller, carried_out(api, lab, controller):
        await kubectl("apply", "-f-", given=run_yaml("countdown", YAML))

        async def is_at_work() -> bool:
            return "Running" in await kubectl("get", "runs")

        await until(is_at_work)
        head, row = (line.split() for line in (await kubectl("get", "runs")).splitlines())
        assert (head, row[:3]) == (["NAME", "STATE", "STAGE", "PROGRESS", "AGE"], ["countdown", "Running", "one"])
        await trainer.backend.launch(Job("countdown", "arm", "module", Config(), 1))
        trainer.backend.may_end.clear()
        deleting = asyncio.create_task(kubectl("delete", "run", "countdown", "--cascade=foreground", "--timeout=120s"))

        async def is_ours_alone() -> bool:
            metadata = json.loads(await kubectl("get", "run", "countdown", "-ojson"))["metadata"]
            return "deletionTimestamp" in metadata and metadata["finalizers"] == [FINALIZER]

        await until(is_ours_alone)
        trainer.backend.may_end.set()
        await deleting
        assert (await controller.record("countdown")).run.state == run_pb2.RUN_STATE_CANCELLED


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("a.b", {}, "the name is the run's id"),
        ("a", {"spec": {}}, "spec.recipe: Required value"),
        ("a", {"spec": {"recipe": ""}}, "spec.recipe"),
        ("a", {"spec": {"recipe": "name: x", "recipes": "y"}}, 'unknown field "spec.recipes"'),
    ],
)
def test_a_run_that_cannot_be_one_is_refused_by_the_api_server(
    control_plane: Cluster, lab: str, name: str, changes: dict[str, Any], words: str
) -> None:
    """A name that is no run id, a missing recipe, a misspelt field: kubectl says which."""
    wrong = yaml.safe_dump({**yaml.safe_load(run_yaml(name, "name: x")), **changes})
    with pytest.raises(AssertionError) as refusal:
        control_plane.kubectl("--namespace", lab, "create", "--validate=strict", "-f-", given=wrong)
    assert words in str(refusal.value)


@pytest.mark.usefixtures("runs")
def test_a_run_keeps_its_recipe(control_plane: Cluster, lab: str) -> None:
    """Applying another recipe under the same name is refused with the way out."""
    control_plane.kubectl("--namespace", lab, "apply", "-f-", given=run_yaml("a", "name: x"))
    with pytest.raises(AssertionError, match="a run keeps its recipe; apply another one under another name"):
        control_plane.kubectl("--namespace", lab, "apply", "-f-", given=run_yaml("a", "name: y"))


def test_the_settings_lead_to_the_cluster(control_plane: Cluster, lab: str) -> None:
    """From a kubeconfig and a template: a backend of the namespace, and an election where a lease is named."""
    settings = LaunchSettings(
        backend="indexed",
        namespace=lab,
        kubeconfig=str(control_plane.kubeconfig),
        pod_template=str(TEMPLATE),
        lease="trainer",
    )
    with joined(settings, "/scratch") as cluster:
        assert (cluster.backend.namespace, cluster.leads()) == (lab, False)
        with pytest.raises(NotFoundError):
            cluster.api.get(f"/apis/batch/v1/namespaces/{lab}/jobs/none")
