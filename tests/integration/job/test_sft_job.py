"""Supervised fine-tuning through real DeepSpeed, as the controller starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from tiny_world import World, kill, wait_until
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.engine
MODULE = "services.trainer.job.sft"
SFT = {
    "num_epochs": 3,
    "learning_rate": 0.01,
    "batch_size": 12,
    "micro_batch_tokens": 192,
    "save_every": 5,
    "loss_on": "completion",
}


@pytest.fixture(scope="module", name="calm")
def calm_run(world: World) -> World:
    """The world after an undisturbed run of one rank, called `calm`."""
    assert world.run(MODULE, world.settings("calm", dataset_key="data.jsonl", sft=SFT)) == 0
    return world


def test_the_loss_falls_and_every_step_is_told(calm: World) -> None:
    """Thirty steps leave thirty objects, counted from 1; the task is learnt and the rate ends near zero."""
    steps = calm.steps("calm")

    assert [step["step"] for step in steps] == list(range(1, 31))
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert steps[-1]["learning_rate"] < 0.01 * steps[5]["learning_rate"]


def test_the_checkpoint_is_a_hugging_face_directory_and_the_state_is_gone(calm: World, tmp_path: Path) -> None:
    """Model and tokenizer load with transformers alone; resumable saves of a finished job are deleted."""
    calm.store.download("calm/out", tmp_path)

    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    prompt = AutoTokenizer.from_pretrained(tmp_path)("ab:", return_tensors="pt")["input_ids"]

    assert model(prompt).logits.shape == (1, 3, 10)
    assert json.loads((tmp_path / "provenance.json").read_text())["parent_keys"] == ["init", "data.jsonl"]
    assert list(calm.store.list("calm/job/state/")) == []


def test_a_finished_job_does_nothing(calm: World) -> None:
    """Started again, it leaves with status 0, trains no step and keeps the weights; saves left behind are deleted."""
    before = calm.weights("calm")
    calm.store.delete("calm/job/steps/000001.json")
    calm.store.put("calm/job/state/000007/node-0/left", b"by a job killed after its output was stored")

    assert calm.run(MODULE, calm.settings("calm", dataset_key="data.jsonl", sft=SFT)) == 0

    assert calm.weights("calm") == before
    assert len(calm.steps("calm")) == 29
    assert list(calm.store.list("calm/job/state/")) == []


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_two_ranks_learn_what_one_learns(calm: World, zero_stage: int) -> None:
    """The same seed on two ranks, weights whole or sharded, gives the same weights up to the order of sums."""
    name, engine = f"pair{zero_stage}", {"device": "cpu", "zero_stage": zero_stage}
    settings = calm.settings(name, dataset_key="data.jsonl", sft=SFT, engine=engine)

    assert calm.run(MODULE, settings, num_processes=2) == 0

    ours, theirs = load(calm.weights(name)), load(calm.weights("calm"))

    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=2e-3)


def test_a_killed_job_resumes_to_the_same_bits(calm: World) -> None:
    """Kill -9 after a save and some steps more: the next start goes on from the save and ends with equal weights."""
    settings = calm.settings("killed", dataset_key="data.jsonl", sft=SFT)
    job = calm.start(MODULE, settings)
    wait_until(lambda: calm.store.exists("killed/job/steps/000012.json"), job)
    kill(job)
    finished_before = calm.store.exists("killed/out/MANIFEST.json")

    assert calm.run(MODULE, settings) == 0

    starts = [line for line in calm.log("killed-job").read_text().splitlines() if '"sft starts"' in line]
    assert not finished_before
    assert json.loads(starts[0])["step"] == 0
    assert json.loads(starts[1])["step"] >= 10
    assert calm.weights("killed") == calm.weights("calm")


def test_a_missing_dataset_is_refused_in_one_line(world: World) -> None:
    """Status 2, and the last line names the key."""
    settings = world.settings("lost", dataset_key="nowhere.jsonl", sft=SFT)

    status = world.run(MODULE, settings)

    assert status == 2
    assert "nowhere.jsonl" in json.loads(world.log("lost-job").read_text().splitlines()[-1])["reason"]
