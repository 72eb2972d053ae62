"""Local jobs are started again after a failure, ended with their run, and say their last words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from retrograde.runtime.errors import InvalidInputError
from services.trainer.jobs import JobFailedError, end_jobs, run_job
from services.trainer.launch import Job, JobHandle, JobState
from services.trainer.local_backend import LocalBackend
from tests.unit.trainer.trainer_fakes import Told, until

HANDLE = JobHandle("run", "arm")


class Config(BaseModel):
    """What the scripted job reads."""

    folder: str


SCRIPT = """
import os, pathlib, signal, sys, time, yaml
config = yaml.safe_load(pathlib.Path(sys.argv[2]).read_text())
folder = pathlib.Path(config["folder"])
starts = len(list(folder.glob("start-*"))) + 1
def begun():
    (folder / "partial").write_text(str(os.getpid()))
    (folder / "partial").rename(folder / f"start-{starts}")
BODY
"""


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[LocalBackend]:
    async with LocalBackend(tmp_path, grace_seconds=30.0) as backend:
        yield backend


def job(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose module runs `body`."""
    (folder / "scripted_job.py").write_text(SCRIPT.replace("BODY", body))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Job("run", "arm", "scripted_job", Config(folder=str(folder)), num_processes=1)


async def started(folder: Path) -> int:
    """The pid of the first start, once it says so."""
    async with asyncio.timeout(60):
        while not (folder / "start-1").exists():
            await asyncio.sleep(0.05)
    return int((folder / "start-1").read_text())


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_killed_job_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: LocalBackend
) -> None:
    """A job that dies by a signal once is done at its second start; the history has both starts and the signal."""
    told = Told()
    dies_once = "begun(); os.kill(os.getpid(), 9) if starts == 1 else None"
    await run_job(backend, job(tmp_path, dies_once, monkeypatch), 3, told)
    assert told.rows == [
        ("started", 1),
        ("ended", 1, "failed", "killed by SIGKILL"),
        ("started", 2),
        ("ended", 2, "succeeded", "status 0"),
    ]


async def test_a_job_that_keeps_failing_says_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: LocalBackend
) -> None:
    """After the allowed starts the error names the job, how it ended and its log, and carries the log's end."""
    failing = job(tmp_path, "sys.exit('no such thing as a free lunch')", monkeypatch)
    message = r"job arm failed 2 times, last by status 1; .*arm\.log ends:\n.*free lunch"
    with pytest.raises(JobFailedError, match=message):
        await run_job(backend, failing, 2, Told())


async def test_a_job_that_refuses_its_input_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: LocalBackend
) -> None:
    """Status 2 is final: the error carries the one line that says what to correct."""
    told = Told()
    refusing = job(tmp_path, "print('sft.max_tokens: too small'); sys.exit(2)", monkeypatch)
    with pytest.raises(InvalidInputError, match=r"job arm refused its input: sft\.max_tokens: too small"):
        await run_job(backend, refusing, 3, told)
    assert told.rows == [("started", 1), ("ended", 1, "refused", "status 2")]


async def test_a_job_at_work_is_found_and_not_started_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: LocalBackend
) -> None:
    """A stage that is run again while its job works waits for that one, and tells of its start if nobody has."""
    told = Told()
    waiting = job(tmp_path, "begun()\nwhile not (folder / 'go').exists(): time.sleep(0.05)", monkeypatch)
    uid = await backend.launch(waiting)
    pid = await started(tmp_path)
    assert await backend.launch(waiting) == uid
    work = asyncio.create_task(run_job(backend, waiting, 1, told))
    await until(lambda: told.rows == [("started", 1)])
    (tmp_path / "go").touch()
    await work
    assert told.rows == [("started", 1), ("ended", 1, "succeeded", "status 0")]
    assert [int(path.read_text()) for path in tmp_path.glob("start-*")] == [pid]


async def test_ending_a_run_ends_its_jobs_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: LocalBackend
) -> None:
    """No process of the run is left, its end is told, and the jobs of another run work on."""
    told = Told()
    await backend.launch(job(tmp_path, "begun(); time.sleep(600)", monkeypatch))
    pid = await started(tmp_path)
    await end_jobs(backend, "another", told)
    assert (await backend.running(), told.rows) == ([HANDLE], [])
    await end_jobs(backend, "run", told)
    assert is_gone(pid)
    assert told.rows == [("started", 1), ("ended", 1, "cancelled", "its run ended")]
    assert (await backend.status(HANDLE)).state is JobState.FAILED


async def test_only_a_start_whose_end_is_known_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: LocalBackend
) -> None:
    """One that has ended is left for whoever asks how, until the launch says that it comes after it."""
    failing = job(tmp_path, "begun(); sys.exit(1)", monkeypatch)
    uid = await backend.launch(failing)
    await started(tmp_path)
    while await backend.running():
        await asyncio.sleep(0.02)
    assert (await backend.launch(failing), (await backend.status(HANDLE)).state) == (uid, JobState.FAILED)
    assert await backend.launch(failing, after=uid) != uid


async def test_a_job_that_ignores_its_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM first; once the grace is over SIGKILL."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); begun(); time.sleep(600)"
    async with LocalBackend(tmp_path, grace_seconds=0.1) as backend:
        await backend.launch(job(tmp_path, deaf, monkeypatch))
        pid = await started(tmp_path)
        await backend.cancel(HANDLE)
        assert is_gone(pid)
        assert (await backend.status(HANDLE)).reason == "killed by SIGKILL"


async def test_jobs_end_with_their_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer that is told to stop leaves no process; one that starts knows nothing of it and says so."""
    async with LocalBackend(tmp_path, grace_seconds=30.0) as backend:
        await backend.launch(job(tmp_path, "begun(); time.sleep(600)", monkeypatch))
        pid = await started(tmp_path)
    assert is_gone(pid)
    assert (await LocalBackend(tmp_path).status(HANDLE)).state is JobState.GONE
