"""Local jobs are started again after a failure, stopped with their run, and say their last words."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from retrograde.runtime.errors import InvalidInputError
from services.trainer.launch import Job, JobFailedError, LocalBackend


class Config(BaseModel):
    """What the scripted job reads."""

    folder: str


SCRIPT = """
import os, pathlib, sys, time, yaml
config = yaml.safe_load(pathlib.Path(sys.argv[2]).read_text())
folder = pathlib.Path(config["folder"])
starts = len(list(folder.glob("start-*"))) + 1
(folder / f"start-{starts}").write_text(str(os.getpid()))
BODY
"""


def job(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose module runs `body` after noting its start."""
    (folder / "scripted_job.py").write_text(SCRIPT.replace("BODY", body))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return Job("run", "arm", "scripted_job", Config(folder=str(folder)), num_processes=1)


async def test_a_killed_job_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that dies by a signal once is done at its second start."""
    dies_once = "os.kill(os.getpid(), 9) if starts == 1 else None"
    await LocalBackend(tmp_path, attempts=3).run(job(tmp_path, dies_once, monkeypatch))
    assert len(list(tmp_path.glob("start-*"))) == 2


async def test_a_job_that_keeps_failing_says_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the allowed starts the error names the job and carries the end of its log."""
    failing = job(tmp_path, "sys.exit('no such thing as a free lunch')", monkeypatch)
    with pytest.raises(JobFailedError, match=r"job arm failed 2 times; .*arm\.log ends:\n.*free lunch"):
        await LocalBackend(tmp_path, attempts=2).run(failing)


async def test_cancelling_stops_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is left behind when the run is cancelled."""
    task = asyncio.create_task(LocalBackend(tmp_path, 1).run(job(tmp_path, "time.sleep(600)", monkeypatch)))
    while not (tmp_path / "start-1").exists():
        await asyncio.sleep(0.05)
    pid = int((tmp_path / "start-1").read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_job_that_refuses_its_input_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2 is final: the error carries the one line that says what to correct."""
    refusing = job(tmp_path, "print('sft.max_tokens: too small'); sys.exit(2)", monkeypatch)
    with pytest.raises(InvalidInputError, match=r"job arm refused its input: sft\.max_tokens: too small"):
        await LocalBackend(tmp_path, attempts=3).run(refusing)
    assert len(list(tmp_path.glob("start-*"))) == 1
