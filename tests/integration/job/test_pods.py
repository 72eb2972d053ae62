"""The commands of a job's pods, as the manifests have them, run as processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from tiny_world import DEADLINE_SECONDS, ROOT, World, kill, wait_until

from retrograde.cli.topology import free_ports
from services.trainer.kubernetes.manifests import indexed_job
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import CONFIG_FOLDER, checked_template
from services.trainer.launch import Job, JobState
from services.trainer.local_backend import LocalBackend

pytestmark = pytest.mark.engine
SFT = "services.trainer.job.sft"
SCRATCH = {"name": "train", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}


class Config(BaseModel):
    """The settings of an SFT job."""

    store: str
    init_checkpoint: str
    output_key: str
    job_key: str
    dataset_key: str
    work_dir: str
    engine: dict[str, str]
    sft: dict[str, int]


def config(world: World, name: str, dataset_key: str = "data.jsonl") -> Config:
    small = {"num_epochs": 1, "num_processes": 2, "batch_size": 12, "save_every": 1}
    return Config.model_validate(world.settings(name, dataset_key=dataset_key, sft=small))


def start_pod(world: World, job: Job, index: int, port: int) -> subprocess.Popen[bytes]:
    """The pod's command, with what its kubelet would put in: the index, the first pod's address, its own scratch."""
    settings = LaunchSettings(backend="indexed", pod_template="t", rendezvous_port=port)
    made = indexed_job(job, settings, checked_template({"spec": {"containers": [SCRATCH]}}, "/scratch"))
    arguments = made["spec"]["template"]["spec"]["containers"][0]["args"]
    folder = world.folder / f"{job.name}-pod-{index}"
    shutil.rmtree(folder, ignore_errors=True)  # a new pod has nothing of the one before
    folder.mkdir()
    scratch = {"work_dir": str(folder / "scratch")}
    (folder / "job.yaml").write_text(yaml.safe_dump(job.config.model_dump(mode="json") | scratch))
    host = arguments[arguments.index("--master-addr") + 1]
    known = {"$(JOB_COMPLETION_INDEX)": str(index), host: "127.0.0.1"}
    known[f"{CONFIG_FOLDER}/job.yaml"] = f"{folder}/job.yaml"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'libs'}{os.pathsep}{ROOT}"}
    command = [sys.executable, *(known.get(each, each) for each in arguments)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


@contextlib.contextmanager
def pods(world: World, job: Job) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Both pods of the job, the first one last; they end with the block."""
    port = free_ports(1)[0]
    started = [start_pod(world, job, index, port) for index in (1, 0)]
    try:
        yield started
    finally:
        for pod in started:
            kill(pod)


def test_two_pods_train_one_model_over_a_kill(world: World) -> None:
    """Their ranks meet at the first pod and save; killed and made anew, with nothing on their disks, they go on."""
    job = Job("run", "pods", SFT, config(world, "pods"), 2)
    with pods(world, job) as first:
        wait_until(lambda: any(key.endswith("/COMPLETE.json") for key in world.store.list("pods/job/state/")), first[0])
    saved = len(world.steps("pods"))
    with pods(world, job) as second:
        statuses = [pod.wait(DEADLINE_SECONDS) for pod in second]
    logs = [(world.folder / f"pods-pod-{index}" / "log").read_text() for index in (0, 1)]
    assert statuses == [0, 0], logs
    steps = [step["step"] for step in world.steps("pods")]
    assert steps == list(range(1, int(world.steps("pods")[0]["num_steps"]) + 1))
    assert saved >= 1
    assert world.store.exists("pods/out/MANIFEST.json")
    assert not list(world.store.list("pods/job/state/"))
    assert not any('"step": 0' in log for log in logs), "it began anew"


async def test_ranks_that_refuse_their_input_are_not_started_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their launcher leaves with their status, and the last line of the log is the one that says what is wrong."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'libs'}{os.pathsep}{ROOT}")
    job = Job("run", "refused", SFT, config(world, "refused", dataset_key="none.jsonl"), 2)
    async with LocalBackend(tmp_path) as backend:
        await backend.launch(job)
        while (status := await backend.status(job.handle)).state is JobState.RUNNING:
            await asyncio.sleep(0.2)
        assert (status.state, status.reason) == (JobState.REFUSED, "status 2")
        assert "dataset_key: the store has no object 'none.jsonl'" in await backend.tail(job.handle, 1)
