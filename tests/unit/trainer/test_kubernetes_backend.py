"""Jobs of a cluster are launched, found again, told apart by how they ended, and cancelled with all their pods."""

from __future__ import annotations

from typing import Any, cast

import pytest

from retrograde.runtime.errors import ConflictError, InvalidInputError, UnavailableError
from services.trainer.jobs import run_job
from services.trainer.kubernetes.api import KubernetesApi
from services.trainer.kubernetes.backend import INDEXED, JOBSET, JOBSETS, KubernetesBackend, chosen_kind
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import PodTemplate
from services.trainer.launch import JobState
from tests.unit.trainer.cluster_jobs import (
    HANDLE,
    JOBS,
    PODS,
    TEMPLATE,
    Interrupted,
    backend,
    condition,
    counts,
    ends,
    job,
    pod,
    terminated,
)
from tests.unit.trainer.fake_api import FakeApi
from tests.unit.trainer.trainer_fakes import Told


async def test_a_launch_that_was_interrupted_is_made_whole() -> None:
    """The same call, made again, creates what is missing; once all is there it creates nothing."""
    api = Interrupted()
    with pytest.raises(UnavailableError, match="left"):
        await backend(api).launch(job())
    assert (await backend(api).running(), counts(api)) == ([HANDLE], (1, 0, 0))
    for _ in range(2):
        await backend(api).launch(job())
        assert counts(api) == (1, 1, 1)


async def test_pods_that_need_not_meet_have_no_service() -> None:
    """A job of one pod is a Job and its ConfigMap."""
    api = FakeApi()
    await backend(api).launch(job(1))
    assert counts(api) == (1, 1, 0)


async def test_a_restarted_trainer_finds_its_jobs_and_no_others() -> None:
    """Exact names, from annotations; jobs that have ended and those of another release are not among them."""
    api = FakeApi()
    await backend(api).launch(job())
    other = PodTemplate({"metadata": {"labels": {"app.kubernetes.io/instance": "b"}}, "spec": TEMPLATE.body["spec"]})
    theirs = KubernetesBackend(cast("KubernetesApi", api), INDEXED, backend(api).settings, other)
    await theirs.launch(job())
    assert await backend(api).running() == [HANDLE]
    ends(api, "Complete")
    assert (await backend(api).running(), await theirs.running()) == ([], [HANDLE])


async def test_a_job_that_failed_is_made_again_once_its_pods_are_gone() -> None:
    """By who knows how it ended; the new one is made once the old is gone, and an end that does not come is named."""
    api = FakeApi()
    old = await backend(api).launch(job())
    ends(api, "Failed")
    pod(api, 0, **terminated(1, "01"))
    assert await backend(api).launch(job()) == old
    api.deletes_at_once = False
    stuck = backend(api, end_seconds=0.01)
    with pytest.raises(UnavailableError, match=r"job astro_rl does not end; pods and their nodes: .*'node-1'"):
        await stuck.launch(job(), after=old)
    api.deletes_at_once = True
    await backend(api).launch(job(), after=old)
    assert api.objects[f"{JOBS}/{api.names('jobs')[0]}"]["metadata"]["uid"] != old


async def test_what_belongs_to_an_earlier_job_is_waited_for() -> None:
    """A ConfigMap that is still there from a Job deleted by hand would vanish under the new one: the launch waits."""
    api = FakeApi()
    await backend(api).launch(job())
    del api.objects[f"{JOBS}/{api.names('jobs')[0]}"]
    with pytest.raises(UnavailableError, match="still belongs to an earlier Job"):
        await backend(api).launch(job())


@pytest.mark.parametrize("is_deleted_before", [True, False], ids=["deleted before", "deleted while it is waited for"])
async def test_pods_that_outlive_their_job_are_waited_for(*, is_deleted_before: bool) -> None:
    """Somebody deleted the Job and left its pods: no other is made before they have ended, and they are named."""
    api = FakeApi()
    uid = await backend(api).launch(job())
    pod(api, 0, phase="Running")
    (old,) = api.names("jobs")
    if is_deleted_before:
        del api.objects[f"{JOBS}/{old}"]
    else:
        ends(api, "Failed")
    with pytest.raises(UnavailableError, match=rf"job astro_rl do(es)? not end; .*{{'{old}-0': 'node-1'}}"):
        await backend(api, end_seconds=0.01).launch(job(), after=uid)
    assert api.names("jobs") == []
    api.patch(f"{PODS}/{old}-0", {"status": {"phase": "Failed"}})
    for path in [path for path in api.objects if PODS not in path]:
        del api.objects[path]  # the garbage collector's part
    await backend(api).launch(job())
    assert api.names("jobs") == [old]


async def test_a_name_that_is_freed_while_its_job_is_made_is_waited_for() -> None:
    """A ConfigMap of an earlier Job is there when ours is made, and gone when it is looked at: no run fails for it."""
    api = FakeApi()
    api.faults["create"] = [ConflictError("configmaps")]
    with pytest.raises(UnavailableError, match="is taken and yet not there"):
        await backend(api).launch(job())
    await backend(api).launch(job())
    assert counts(api) == (1, 1, 1)


async def test_pods_of_an_earlier_job_do_not_speak_for_the_next() -> None:
    """Somebody deleted a Job that had refused its input, and left its pods: the next fails by its own, not theirs."""
    api = FakeApi()
    await backend(api).launch(job())
    pod(api, 0, **terminated(2, "01"))
    for path in [path for path in api.objects if not path.startswith(PODS)]:
        del api.objects[path]
    await backend(api).launch(job())
    ends(api, "Failed")
    found = await backend(api).status(HANDLE)
    assert (found.state, found.reason) == (JobState.FAILED, "a pod has failed")


async def test_pods_without_their_job_are_a_job_at_work() -> None:
    """Somebody deleted the Job alone: it is found at work, and cancelling it says which pods do not end."""
    api = FakeApi()
    await backend(api).launch(job())
    pod(api, 0, phase="Running")
    (name,) = api.names("jobs")
    del api.objects[f"{JOBS}/{name}"]
    assert await backend(api).running() == [HANDLE]
    with pytest.raises(UnavailableError, match=rf"job astro_rl does not end; .*{{'{name}-0': 'node-1'}}"):
        await backend(api).cancel(HANDLE)
    del api.objects[f"{PODS}/{name}-0"]
    await backend(api).cancel(HANDLE)
    assert await backend(api).running() == []


async def test_a_job_that_somebody_deletes_says_so() -> None:
    """It is at work until its pods have ended, and launching it makes no other."""
    api = FakeApi()
    uid = await backend(api).launch(job())
    api.deletes_at_once = False
    api.delete(f"{JOBS}/{api.names('jobs')[0]}", uid)
    assert await backend(api).launch(job()) == uid
    assert (await backend(api).status(HANDLE)).reason == "somebody deletes it; waits for its pods to end"


FIRST = terminated(1, "05")


@pytest.mark.parametrize(
    ("kind", "reason", "pods", "state", "words"),
    [
        ("Complete", "", [{"phase": "Succeeded"}], JobState.SUCCEEDED, "status 0"),
        ("Failed", "BackoffLimitExceeded", [FIRST], JobState.FAILED, "-0: status 1"),
        ("Failed", "", [FIRST, terminated(137, "04", "OOMKilled")], JobState.FAILED, "-1: OOMKilled, status 137"),
        ("Failed", "", [FIRST, terminated(137, "05", "OOMKilled")], JobState.FAILED, "-1: OOMKilled, status 137"),
        ("Failed", "PodFailurePolicy", [], JobState.REFUSED, "a pod has failed"),
        ("Failed", "", [terminated(2, "01"), FIRST], JobState.REFUSED, "-0: status 2"),
        ("Failed", "", [], JobState.FAILED, "a pod has failed"),
        (
            "Failed",
            "",
            [{"phase": "Failed", "reason": "Evicted", "message": "low on memory"}],
            JobState.FAILED,
            "-0: Evicted: low on memory",
        ),
        (
            "Failed",
            "",
            [{"phase": "Failed", "conditions": [condition("DisruptionTarget", "DeletionByTaintManager", "drained")]}],
            JobState.FAILED,
            "-0: DeletionByTaintManager: drained",
        ),
        (
            "Waits",
            "",
            [
                {
                    "phase": "Pending",
                    "conditions": [
                        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                    ],
                }
            ],
            JobState.RUNNING,
            "-0: Unschedulable: 0/3 nodes",
        ),
        (
            "Waits",
            "",
            [{"containerStatuses": [{"name": "train", "state": {"waiting": {"reason": "ErrImagePull"}}}]}],
            JobState.RUNNING,
            "-0: ErrImagePull",
        ),
        ("Waits", "", [{"phase": "Running"}], JobState.RUNNING, ""),
    ],
)
async def test_a_status_says_why(
    kind: str, reason: str, pods: list[dict[str, Any]], state: JobState, words: str
) -> None:
    """How a job ended, by the pod that failed first, and what one at work waits for."""
    api = FakeApi()
    await backend(api).launch(job())
    ends(api, kind, reason)
    for index, status in enumerate(pods):
        pod(api, index, **status)
    found = await backend(api).status(HANDLE)
    assert (found.state, found.reason.endswith(words)) == (state, True), found
    assert found.log.startswith("kubectl logs --namespace lab --selector batch.kubernetes.io/job-name=astro-rl-run-1-")


async def test_a_job_nobody_knows_is_gone() -> None:
    """Never launched, or deleted by hand: GONE, without a log; cancelling it is fine."""
    api = FakeApi()
    assert (await backend(api).status(HANDLE)).state is JobState.GONE
    assert await backend(api).tail(HANDLE, 5) == ""
    await backend(api).cancel(HANDLE)


async def test_a_job_in_a_queue_says_so() -> None:
    """Suspended until Kueue admits it."""
    api = FakeApi()
    queued = backend(api, queue="team-a")
    await queued.launch(job())
    assert (await queued.status(HANDLE)).reason == "waits to be admitted"


async def test_the_last_words_are_those_of_the_pod_that_failed() -> None:
    """Rank 0's while the job works; once a pod has failed, that one's; a log that is gone says so."""
    api = FakeApi()
    await backend(api).launch(job())
    pod(api, 0, phase="Running")
    pod(api, 1, phase="Running")
    first, second = (f"{PODS}/{name}" for name in api.names("pods"))
    api.texts[f"{first}/log"] = "a\nb\nc\n"
    assert await backend(api).tail(HANDLE, 2) == "b\nc"
    api.patch(second, {"status": terminated(1, "01")})
    assert (await backend(api).tail(HANDLE, 2)).startswith("(no log: ")
    api.texts[f"{second}/log"] = "no such file\n"
    assert await backend(api).tail(HANDLE, 1) == "no such file"


async def test_cancel_returns_once_the_job_is_gone() -> None:
    """With it go its ConfigMap and its Service; a Job that somebody made meanwhile under that name stays."""
    api = FakeApi()
    await backend(api).launch(job())
    await backend(api).cancel(HANDLE)
    assert api.objects == {}
    await backend(api).launch(job())
    api.faults["delete"] = [ConflictError("another uid")]
    await backend(api).cancel(HANDLE)
    assert await backend(api).running() == [HANDLE]


async def test_a_refusal_ends_the_stage_with_its_words() -> None:
    """Status 2 in a pod is the job's InvalidInputError, as on this machine."""
    api = RefusesAtOnce()
    with pytest.raises(InvalidInputError, match=r"job astro_rl refused its input: sft\.max_tokens: too small"):
        await run_job(backend(api), job(), 3, Told())


async def test_an_api_server_that_leaves_does_not_begin_a_job_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again how the job stands, and for its last words: one start is one attempt, told once."""
    monkeypatch.setattr("services.trainer.jobs._PAUSE_SECONDS", 0.01)
    told = Told()
    with pytest.raises(InvalidInputError, match="too small"):
        await run_job(backend(LeavesAfterTheLaunch()), job(), 3, told)
    assert [row[:3] for row in told.rows] == [("started", 1), ("ended", 1, "refused")]


class RefusesAtOnce(FakeApi):
    """As soon as it is whole the job's first pod has refused its input."""

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made = super().create(path, body)
        if path.endswith("services"):
            pod(self, 0, **terminated(2, "01"))
            self.texts[f"{PODS}/{self.names('pods')[0]}/log"] = "sft.max_tokens: too small\n"
            ends(self, "Failed", "PodFailurePolicy")
        return made


class LeavesAfterTheLaunch(RefusesAtOnce):
    """Of four questions about the job that it has the first is not answered."""

    num_asked = 0

    def get(self, path: str, **query: str) -> dict[str, Any]:
        if self.names("services"):
            self.num_asked += 1
            if self.num_asked % 4 == 1:
                raise UnavailableError("away")
        return super().get(path, **query)


@pytest.mark.parametrize(
    ("wanted", "offered", "kind"),
    [("indexed", True, INDEXED), ("jobset", False, JOBSET), ("auto", True, JOBSET), ("auto", False, INDEXED)],
)
def test_auto_takes_what_the_server_offers(wanted: Any, offered: bool, kind: object) -> None:  # noqa: FBT001
    """JobSets where their API is served, else Indexed Jobs; a backend that is named is taken as it is."""
    api = FakeApi()
    if offered:
        api.texts[JOBSETS] = ""
    assert chosen_kind(LaunchSettings(backend=wanted, pod_template="t"), cast("KubernetesApi", api)) is kind
