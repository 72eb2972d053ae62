"""Jobs were chosen, then JobSets, or the other way round: what is left of the kind before is seen to its end."""

from __future__ import annotations

import pytest

from retrograde.runtime.errors import UnavailableError
from services.trainer.kubernetes.api import ForbiddenError
from services.trainer.kubernetes.backend import INDEXED, JOBSET, JOBSETS, Kind
from services.trainer.launch import JobState
from tests.unit.trainer.cluster_jobs import HANDLE, JOBS, PODS, Interrupted, backend, counts, ends, job, pod, terminated
from tests.unit.trainer.fake_api import FakeApi


async def test_a_job_of_the_other_kind_is_followed_to_its_end() -> None:
    """Jobs were chosen, then JobSets: the job at work is found, launching makes no second; once it failed one does."""
    api = FakeApi()
    uid = await backend(api).launch(job())
    pod(api, 0, phase="Running")
    other = backend(api, JOBSET)
    await other.launch(job())
    assert (api.names("jobsets"), len(api.names("jobs"))) == ([], 1)
    assert (await other.running(), (await other.status(HANDLE)).state) == ([HANDLE], JobState.RUNNING)
    ends(api, "Failed")
    api.patch(f"{PODS}/{api.names('pods')[0]}", {"status": terminated(1, "01")})
    found = await other.status(HANDLE)
    assert (found.state, found.reason.endswith("-0: status 1")) == (JobState.FAILED, True)
    await other.launch(job(), after=uid)
    assert (len(api.names("jobsets")), api.names("jobs"), await other.running()) == (1, [], [HANDLE])


@pytest.mark.parametrize(("before", "after"), [(INDEXED, JOBSET), (JOBSET, INDEXED)], ids=["jobs", "jobsets"])
async def test_a_launch_of_the_other_kind_that_was_interrupted_is_made_whole(before: Kind, after: Kind) -> None:
    """The trainer ended after the job was made and came back with the other kind: it creates what pods wait for."""
    api = Interrupted()
    with pytest.raises(UnavailableError, match="left"):
        await backend(api, before).launch(job())
    for _ in range(2):
        await backend(api, after).launch(job())
        assert (counts(api)[1:], api.names(after.plural)) == ((1, before is INDEXED), [])


async def test_cancel_ends_a_job_of_the_other_kind() -> None:
    """Where JobSets were chosen before, too; a JobSet's own Job is none of ours, and its run goes with the JobSet."""
    api = FakeApi()
    before = backend(api, JOBSET)
    await before.launch(job())
    labels = api.objects[f"{JOBSETS}/namespaces/lab/jobsets/{api.names('jobsets')[0]}"]["metadata"]["labels"]
    api.add(JOBS, {"metadata": {"name": "child", "labels": labels}})
    assert await backend(api).running() == [HANDLE]
    await backend(api).cancel(HANDLE)
    assert (await backend(api).running(), api.names("jobsets")) == ([], [])


async def test_a_server_without_jobsets_has_none_at_work() -> None:
    """Asked for them it knows no such path."""
    api = FakeApi()
    await backend(api).launch(job())
    api.unknown = f"{JOBSETS}/namespaces/lab/jobsets"
    assert await backend(api).running() == [HANDLE]


@pytest.mark.parametrize("kind", [INDEXED, JOBSET], ids=["jobs", "jobsets"])
async def test_without_a_right_to_the_other_kind_there_are_none(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    """As on a server that lacks JobSets, which says 403 to who may not list them: jobs begin and end, told once."""
    api = FakeApi()
    api.forbidden = (JOBS,) if kind is JOBSET else (JOBSETS,)
    ours = backend(api, kind)
    await ours.launch(job())
    assert (await ours.running(), (await ours.status(HANDLE)).state) == ([HANDLE], JobState.RUNNING)
    await ours.cancel(HANDLE)
    assert (await ours.running(), (await ours.status(HANDLE)).state) == ([], JobState.GONE)
    assert caplog.text.count("no right to jobs of the other kind") == 1


async def test_a_right_to_our_own_kind_is_waited_for() -> None:
    """Without it nothing is known of jobs at work, so none is said to be gone."""
    api = FakeApi()
    api.forbidden = (JOBS,)
    with pytest.raises(ForbiddenError):
        await backend(api).running()
    with pytest.raises(ForbiddenError):
        await backend(api).status(HANDLE)
