"""Two trainer processes of one store, as the chart starts them: one leads, and when it is killed the other does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml

from retrograde.runtime.errors import UnavailableError
from retrograde.v1 import run_pb2
from retrograde.wire.clients import TrainerClient
from tests.control_plane import Cluster
from tests.unit.search.search_fakes import RECIPE

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "tests" / "data" / "kubernetes" / "pod_template.yaml"
SECONDS = 300.0


@pytest.fixture
def lab(control_plane: Cluster) -> Iterator[str]:
    control_plane.make_namespace("trainers", {})
    yield "trainers"
    control_plane.kubectl("delete", "namespace", "trainers", "--wait=false")


@pytest.fixture
def start(control_plane: Cluster, lab: str, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a trainer by name, whose ports are free ones; its log says when and where it serves."""
    started: list[subprocess.Popen[bytes]] = []
    cluster = tmp_path / "kubeconfig"
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = lab
    cluster.write_text(yaml.safe_dump(config))

    def one(name: str) -> subprocess.Popen[bytes]:
        settings = tmp_path / f"{name}.yaml"
        settings.write_text(yaml.safe_dump(trainer_settings(tmp_path, cluster)))
        command = [sys.executable, "-m", "services.trainer", "--config", str(settings)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'libs'}{os.pathsep}{ROOT}"}
        with (tmp_path / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.wait()


def trainer_settings(folder: Path, kubeconfig: Path) -> dict[str, object]:
    launch = {
        "backend": "indexed",
        "kubeconfig": str(kubeconfig),
        "pod_template": str(TEMPLATE),
        "lease": "trainer",
        "lease_seconds": 20,  # on a slow machine the leader must not be late
        "run_resources": False,
    }
    return {
        "store": f"file://{folder}/store",
        "broker": f"sqlite://{folder}/broker.db",
        "inference": "127.0.0.1:1",
        "verifier": "127.0.0.1:1",
        "rollouts": "127.0.0.1:1",
        "work_dir": "/scratch",
        "launch": launch,
    }


async def address(log: Path) -> str:
    """Where the trainer serves, once it says so."""
    async with asyncio.timeout(SECONDS):
        while True:
            for line in log.read_text().splitlines() if log.exists() else ():
                with contextlib.suppress(ValueError):
                    said = yaml.safe_load(line)
                    if said.get("event") == "ready":
                        return str(said["address"])
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def asked(log: Path) -> AsyncIterator[TrainerClient]:
    async with TrainerClient(await address(log), patience_seconds=0, deadline_seconds=30) as client:
        yield client


async def leads(client: TrainerClient) -> bool:
    with contextlib.suppress(UnavailableError):
        await client.list_runs()
        return True
    return False


async def until_leads(client: TrainerClient) -> None:
    async with asyncio.timeout(SECONDS):
        while not await leads(client):
            await asyncio.sleep(0.1)


async def test_the_standby_continues_what_a_killed_leader_began(
    start: Callable[[str], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It answers nothing while the other leads; soon after the other's SIGKILL it leads and works on its run."""
    first = start("first")
    async with asked(tmp_path / "first.log") as leader:
        await until_leads(leader)
        start("second")
        async with asked(tmp_path / "second.log") as standby:
            assert not await leads(standby)
            await leader.create_run("r", yaml.safe_dump(RECIPE.model_dump(mode="json")))
            assert not await leads(standby)
            first.send_signal(signal.SIGKILL)
            await until_leads(standby)
            assert [(run.id, run.state) for run in await standby.list_runs()] == [("r", run_pb2.RUN_STATE_RUNNING)]
            async with asyncio.timeout(SECONDS):
                while "continued" not in await happened(standby):
                    await asyncio.sleep(0.1)


async def happened(client: TrainerClient) -> list[str | None]:
    return [event.WhichOneof("happened") for event in await client.run_history("r")]
