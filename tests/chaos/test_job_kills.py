"""Training jobs killed with -9 at named points, their objects in a real MinIO, and started again as their stage does.

Each life brings torch and DeepSpeed up again, minutes in all: only with RETROGRADE_CHAOS_FULL=1. CI kills each job
once, at a step (tests/integration/job).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from retrograde.cli.servers.minio_server import MinioServer
from tests.chaos.jobs import Job, prepare
from tests.chaos.kill_points import GRPO, JOB

SFT = {"num_epochs": 2, "learning_rate": 0.01, "batch_size": 12, "save_every": 2, "loss_on": "completion"}
RL = {
    "num_steps": 4,
    "prompts_per_step": 3,
    "group_size": 4,
    "learning_rate": 0.01,
    "micro_batch_tokens": 128,
    "save_every": 2,
    "max_tokens": 8,
}

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.engine,
    pytest.mark.minio,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.environ.get("RETROGRADE_CHAOS_FULL") != "1", reason="minutes: RETROGRADE_CHAOS_FULL=1"),
]


def same_steps(calm: Job, attacked: Job) -> None:
    """Each step was told once, and no save is left."""
    assert sorted(attacked.objects("steps")) == sorted(calm.objects("steps")) != []
    assert attacked.objects("state") == {}


def test_the_weights_are_those_of_a_calm_job(tmp_path: Path, minio_server: MinioServer) -> None:
    """Killed at each point and started again, it ends with the same weights bit for bit and each step told once."""
    url = minio_server.url("sft")
    prepare(tmp_path, url)
    own = {"dataset_key": "runs/r/datasets/data.jsonl", "sft": SFT}
    calm, attacked = (Job(tmp_path, url, "services.trainer.job.sft", name, own) for name in ("calm", "attacked"))
    assert calm.live() == 0
    assert [attacked.live(trap) for trap in JOB] == [-9] * len(JOB)
    assert attacked.live() == 0
    assert attacked.weights == calm.weights
    same_steps(calm, attacked)


def test_grpo_uses_every_prompt_once_and_ends_with_the_weights_of_a_calm_job(
    tmp_path: Path, minio_server: MinioServer
) -> None:
    """Killed around pulls, publishes, saves, acknowledgements and the export: prompts are those of the calm job."""
    url = minio_server.url("grpo")
    prepare(tmp_path, url)
    keys = {"prompts_key": "runs/r/datasets/data.jsonl", "feed": "feed", "rollouts": "nowhere:1", "rl": RL}
    calm, attacked = (
        Job(tmp_path, url, "tests.chaos.grpo_job", name, keys | {"policies_key": f"runs/r/policies/{name}"})
        for name in ("calm", "attacked")
    )
    assert calm.live() == 0
    assert [attacked.live(trap) for trap in GRPO] == [-9] * len(GRPO)
    assert attacked.live() == 0
    tickets = [json.loads((job.folder / "tickets.json").read_text()) for job in (calm, attacked)]
    assert tickets == [list(range(RL["num_steps"] * RL["prompts_per_step"]))] * 2
    assert attacked.weights == calm.weights
    same_steps(calm, attacked)
