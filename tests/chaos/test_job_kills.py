"""The training job killed with -9 at named points, its objects in a real MinIO, and started again as its stage does.

Each life brings torch and DeepSpeed up again, minutes in all: only with RETROGRADE_CHAOS_FULL=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from retrograde.cli.servers.minio_server import MinioServer
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from tests.chaos.kill_points import JOB

ROOT = Path(__file__).resolve().parents[2]
SFT = {"num_epochs": 2, "learning_rate": 0.01, "batch_size": 12, "save_every": 2, "loss_on": "completion"}
LIFE_SECONDS = 300.0

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.engine,
    pytest.mark.minio,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("RETROGRADE_CHAOS_FULL") != "1", reason="minutes: RETROGRADE_CHAOS_FULL=1"),
]


def life(folder: Path, store_url: str, name: str, *trap: str) -> int:
    """One start of the job called `name`: its status."""
    settings = {
        "store": store_url,
        "init_checkpoint": "runs/r/checkpoints/base",
        "output_key": f"runs/r/checkpoints/{name}",
        "job_key": f"runs/r/jobs/{name}",
        "dataset_key": "runs/r/datasets/data.jsonl",
        "work_dir": str(folder / name),
        "seed": 5,
        "engine": {"device": "cpu"},
        "sft": SFT,
    }
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(settings))
    job = "services.trainer.job.sft"
    command = [sys.executable, "-m", *(["tests.chaos.killable"] if trap else []), job, *trap, "--config", str(config)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"}
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False, timeout=LIFE_SECONDS
        ).returncode


def objects(store: ObjectStore, prefix: str) -> dict[str, bytes]:
    return {key.removeprefix(prefix): store.get(key) for key in store.list(prefix)}


def test_the_weights_are_those_of_a_calm_job(tmp_path: Path, minio_server: MinioServer) -> None:
    """Killed at each point and started again, it ends with the same weights bit for bit and each step told once."""
    sys.path.append(str(ROOT / "tests/integration/job"))
    from tiny_world import build_world  # noqa: PLC0415 - it imports torch

    url = minio_server.url("jobs")
    store, world = open_store(url), build_world(tmp_path)
    store.upload("runs/r/checkpoints/base", tmp_path / "init")
    store.put("runs/r/datasets/data.jsonl", world.store.get("data.jsonl"))
    assert life(tmp_path, url, "calm") == 0
    assert [life(tmp_path, url, "attacked", trap) for trap in JOB] == [-9] * len(JOB)
    assert life(tmp_path, url, "attacked") == 0
    weights = [store.get(f"runs/r/checkpoints/{name}/model.safetensors") for name in ("calm", "attacked")]
    assert weights[0] == weights[1]
    steps = [sorted(objects(store, f"runs/r/jobs/{name}/steps/")) for name in ("calm", "attacked")]
    assert steps[0] == steps[1] != []
    assert objects(store, "runs/r/jobs/attacked/state/") == {}
