"""Each start of a job is told once, and its end once and as it was, whatever fails or changes in between."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from retrograde.core.problem import Cost
from retrograde.runtime.errors import FencedError, UnavailableError
from retrograde.v1 import run_pb2
from services.trainer import jobs
from services.trainer.history import History
from services.trainer.jobs import JobFailedError, end_jobs, run_job, settle_job
from services.trainer.launch import Job, JobState, JobStatus
from services.trainer.stages.stage import Progress, RunContext
from services.trainer.starts import latest
from tests.unit.trainer.cluster_jobs import HANDLE, JOBS, PODS, Interrupted, backend, ends, job, pod, terminated
from tests.unit.trainer.fake_api import FakeApi
from tests.unit.trainer.trainer_fakes import YAML, Told, Trainer, ended, rows_of, until

AWAY = UnavailableError("the API server left")
CANCELLED = ("ended", 1, "cancelled", "its run ended")
GONE = ("ended", 1, "unknown", "gone: somebody deleted it, or it was kept no longer")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PAUSE_SECONDS", "_LOOK_EVERY_SECONDS"):
        monkeypatch.setattr(jobs, name, 0.01)


class LosesAnswers(FakeApi):
    """The Job is made, and whoever made it is not told."""

    is_away = True

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        made = super().create(path, body)
        if self.is_away and path.endswith("/jobs"):
            self.is_away = False
            raise AWAY
        return made


class Slow(FakeApi):
    """A Job is made once it `may_make` it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_making, self.may_make = threading.Event(), threading.Event()

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/jobs"):
            self.is_making.set()
            assert self.may_make.wait(60)
        return super().create(path, body)


class DiesBeforeTelling(Told):
    """A trainer that is killed between a start and its event."""

    async def tell(self, event: run_pb2.RunEvent) -> None:
        raise asyncio.CancelledError


@contextlib.asynccontextmanager
async def life(api: FakeApi, told: Told, attempts: int = 3) -> Any:
    """A trainer that brings the job to its end, killed with the block."""
    work = asyncio.create_task(run_job(backend(api), job(), attempts, told))
    try:
        yield work
    finally:
        work.cancel()
        await asyncio.wait({work})


async def started(api: FakeApi) -> Told:
    """The history of a run whose trainer was killed while its job worked."""
    told = Told()
    async with life(api, told):
        await until(lambda: told.rows == [("started", 1)])
    return told


def deleted(api: FakeApi) -> None:
    """Somebody deletes all."""
    for path in list(api.objects):
        del api.objects[path]


def failed(api: FakeApi) -> None:
    pod(api, 0, **terminated(137, "01", "OOMKilled"))
    ends(api, "Failed")


async def test_a_job_that_failed_while_nobody_looked_is_told_with_its_cause() -> None:
    """The next trainer tells how it ended, by what the API server still has, before it starts the job again."""
    api = FakeApi()
    told = await started(api)
    name = api.names("jobs")[0]
    failed(api)
    async with life(api, told):
        await until(lambda: len(told.rows) == 3)
    reason = f"pod {name}-0: OOMKilled, status 137"
    assert told.rows == [("started", 1), ("ended", 1, "failed", reason), ("started", 2)]


async def test_a_job_that_succeeded_while_nobody_looked_is_told_and_not_started_again() -> None:
    """Its start was told; its end is, and that is all there is to do."""
    api = FakeApi()
    told = await started(api)
    ends(api, "Complete")
    async with life(api, told) as work:
        await asyncio.wait_for(work, 60)
    assert told.rows == [("started", 1), ("ended", 1, "succeeded", "status 0")]


async def test_a_job_that_is_gone_is_told_as_unknown() -> None:
    """Nobody knows how it ended, and the history says so, also where another has its name by then."""
    api = FakeApi()
    told = await started(api)
    deleted(api)
    async with life(api, told):
        await until(lambda: len(told.rows) == 3)
    assert told.rows == [("started", 1), GONE, ("started", 2)]
    deleted(api)
    await backend(api).launch(job())
    async with life(api, told):
        await until(lambda: len(told.rows) == 5)
    assert told.rows[3:] == [("ended", 2, "unknown", "gone: another was made in its place"), ("started", 3)]
    assert told.kept[-1].job_started.uid == api.objects[f"{JOBS}/{api.names('jobs')[0]}"]["metadata"]["uid"]


@pytest.mark.parametrize("api", [LosesAnswers(), Interrupted()], ids=["the answer is lost", "half of it is made"])
async def test_a_launch_that_is_made_again_is_one_start(api: FakeApi) -> None:
    """The stage waits and comes back: there is one Job, whole, and it is told once."""
    told = Told()
    with pytest.raises(UnavailableError):
        await run_job(backend(api), job(), 3, told)
    assert told.rows == []
    async with life(api, told):
        await until(lambda: told.rows == [("started", 1)])
    assert [len(api.names(plural)) for plural in ("jobs", "configmaps", "services")] == [1, 1, 1]


async def test_a_start_whose_trainer_died_before_telling_is_told_once_by_the_next() -> None:
    """At work, it is followed; whoever leads after that one tells nothing twice."""
    api, told = FakeApi(), Told()
    with pytest.raises(asyncio.CancelledError):
        await run_job(backend(api), job(), 3, DiesBeforeTelling())
    for _ in range(2):
        async with life(api, told):
            await until(lambda: told.rows == [("started", 1)])
            await asyncio.sleep(0.05)
    assert (told.rows, [path for method, path in api.calls if method == "delete"]) == ([("started", 1)], [])


@pytest.mark.parametrize("state", ["Failed", "Complete"])
async def test_a_start_that_ended_before_it_was_told_does_not_make_the_job_done(state: str) -> None:
    """It is told with its end; without a checkpoint the job starts again: the store may be newer than the Job."""
    api, told = FakeApi(), Told()
    await backend(api).launch(job())
    ends(api, state)
    async with life(api, told):
        await until(lambda: len(told.rows) == 3)
    assert [row[:3] for row in told.rows] == [
        ("started", 1),
        ("ended", 1, {"Failed": "failed", "Complete": "succeeded"}[state]),
        ("started", 2),
    ]


async def test_a_trainer_that_another_has_replaced_starts_nothing() -> None:
    """The store is asked whose the run is before a job is made."""

    class Fenced(Told):
        async def check(self) -> None:
            raise FencedError("another trainer")

    api = FakeApi()
    with pytest.raises(FencedError):
        await asyncio.wait_for(run_job(backend(api), job(), 3, Fenced()), 60)
    assert api.objects == {}


async def test_starts_are_counted_over_a_stage_that_waits() -> None:
    """An API server that leaves between two starts does not give the job more of them."""
    api, told = FakeApi(), Told()

    async def fails() -> None:
        failed(api)
        await until(lambda: told.rows[-1][0] == "ended")

    async with life(api, told, attempts=2) as work:
        await until(lambda: told.rows == [("started", 1)])
        api.faults["delete"] = [AWAY]
        await fails()
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(work, 60)
    for path in [path for path in api.objects if path.startswith(PODS)]:
        del api.objects[path]
    async with life(api, told, attempts=2) as work:
        await until(lambda: told.rows[-1] == ("started", 2))
        failed(api)
        with pytest.raises(JobFailedError, match="job astro_rl failed 2 times"):
            await asyncio.wait_for(work, 60)


async def test_a_job_whose_checkpoint_is_there_is_told_to_its_end() -> None:
    """One that ends is waited for, one that nobody told of is told; after that there is nothing to tell."""
    api = FakeApi()
    told = await started(api)
    settling = asyncio.create_task(settle_job(backend(api), job(), told))
    await asyncio.sleep(0.05)
    assert not settling.done()
    ends(api, "Complete")
    await asyncio.wait_for(settling, 60)
    both = [("started", 1), ("ended", 1, "succeeded", "status 0")]
    assert told.rows == both
    unknown = Told()
    for _ in range(2):
        await settle_job(backend(api), job(), unknown)
        assert unknown.rows == both


async def test_the_end_of_a_run_is_told_once_although_the_api_server_leaves() -> None:
    """Told before the job is deleted: when the answer is lost, and the Job gone when it is asked again."""
    api = FakeApi()
    told = await started(api)
    api.deletes_at_once = False
    with pytest.raises(UnavailableError):
        await end_jobs(backend(api, end_seconds=0.01), "run-1", told)
    deleted(api)
    await end_jobs(backend(api), "run-1", told)
    assert told.rows == [("started", 1), CANCELLED]


async def test_the_end_of_a_run_tells_how_its_jobs_had_ended() -> None:
    """One that was done before, one that is gone, and one at work that nobody had told of."""
    api = FakeApi()
    told = await started(api)
    ends(api, "Complete")
    await end_jobs(backend(api), "run-1", told)
    assert told.rows == [("started", 1), ("ended", 1, "succeeded", "status 0")]
    api = FakeApi()
    told = await started(api)
    deleted(api)
    await end_jobs(backend(api), "run-1", told)
    assert told.rows == [("started", 1), GONE]
    api, told = FakeApi(), Told()
    await backend(api).launch(job())
    await end_jobs(backend(api), "run-1", told)
    assert (told.rows, api.objects) == ([("started", 1), CANCELLED], {})


async def test_a_run_that_is_cancelled_while_its_job_is_made_leaves_none() -> None:
    """The stage ends once the API server has answered, so whoever ends the run finds what it made."""
    api, told = Slow(), Told()
    work = asyncio.create_task(run_job(backend(api), job(), 3, told))
    await asyncio.to_thread(api.is_making.wait, 60)
    work.cancel()
    await asyncio.sleep(0.05)
    has_left = work.done()
    api.may_make.set()
    await asyncio.wait({work})
    await end_jobs(backend(api), "run-1", told)
    assert (has_left, told.rows, api.names("jobs")) == (False, [("started", 1), CANCELLED], [])


class JobStage:
    """Brings one job to its end."""

    name, unit, serves = "rl", "steps", ""

    async def run(self, context: RunContext, _progress: Progress) -> Cost:
        await run_job(context.backend, Job(context.run_id, HANDLE.name, "m", job().config, 2), 1, context.history)
        return Cost()


async def test_a_trainer_that_is_replaced_leaves_a_history_that_is_whole() -> None:
    """By the store alone: the next one tells how the job ended meanwhile, and holds no start before it against it."""
    trainer, api = Trainer(), FakeApi()
    trainer.backend, trainer.stages = backend(api), [JobStage()]  # type: ignore[assignment, list-item]

    def rows() -> list[tuple[object, ...]]:
        return rows_of(History(trainer.store, "r").read())

    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await until(lambda: rows() == [("started", 1)])
    failed(api)
    async with trainer.life() as controller:
        await until(lambda: rows()[-1] == ("started", 2))
        for path in [path for path in api.objects if path.startswith(PODS)]:
            del api.objects[path]
        ends(api, "Complete")
        assert (await ended(controller, "r")).state == run_pb2.RUN_STATE_SUCCEEDED
    assert [row[:3] for row in rows()] == [
        ("started", 1),
        ("ended", 1, "failed"),
        ("started", 2),
        ("ended", 2, "succeeded"),
    ]


def test_a_history_without_uids_is_understood() -> None:
    """Its last start, at work when uids came, is the one that is found."""
    told = run_pb2.RunEvent(job_started=run_pb2.JobStarted(job="astro_rl", attempt=1))
    start = latest([told], "astro_rl")
    status = JobStatus(JobState.RUNNING, uid="uid-1")
    assert (start.has_ended, start.told_by(status), start.is_before(status)) == (False, status, False)
