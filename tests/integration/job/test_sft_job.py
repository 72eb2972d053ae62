"""Supervised fine-tuning through real DeepSpeed, as the controller starts it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from tiny_world import World
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.collectors import Collector, collecting

pytestmark = pytest.mark.engine
MODULE = "services.trainer.job.sft"
SFT = {
    "num_epochs": 3,
    "learning_rate": 0.01,
    "batch_size": 12,
    "micro_batch_tokens": 192,
    "save_every": 5,
    "loss_on": "completion",
    "packing": "best_fit",
    "eval_share": 0.1,
    "eval_every": 5,
}
MANY = str(Path(__file__).with_name("many_stages.py"))
ENGINES = {
    "zero0": {"zero_stage": 0, "activation_checkpointing": True},
    "zero1": {"zero_stage": 1},
    "zero2": {"zero_stage": 2},
    "zero3": {"zero_stage": 3},
    "half0": {"zero_stage": 0, "dtype": "bf16"},
    "half3": {"zero_stage": 3, "dtype": "bf16"},
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module", name="calm")
def calm_run(world: World, collector: Collector) -> World:
    """The world after an undisturbed run of one rank, called `calm`, which tells its spans."""
    told = {"tracing": {"endpoint": collector.endpoint}}
    assert world.run(MODULE, world.settings("calm", dataset_key="data.jsonl", sft=SFT, **told)) == 0
    return world


def test_the_loss_falls_and_every_step_is_told(calm: World) -> None:
    """Twenty-seven steps leave as many objects, counted from 1; the task is learnt and the rate ends near zero."""
    steps = calm.steps("calm")

    assert [step["step"] for step in steps] == list(range(1, 28))
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert steps[-1]["learning_rate"] < 0.01 * steps[5]["learning_rate"]


def test_steps_are_spans(calm: World, collector: Collector) -> None:
    """Each step, evaluation and save is told once, with its number; the job's end waits for the last."""
    told = {(span.service, span.name, span.attributes["retrograde.step"]) for span in collector.spans}
    numbers = {"step": range(1, 28), "evaluate": (5, 10, 15, 20, 25, 27), "save": (5, 10, 15, 20, 25)}
    assert told == {("trainer-sft", name, step) for name, steps in numbers.items() for step in steps}
    assert len(collector.spans) == len(calm.steps("calm")) + 11


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
    assert len(calm.steps("calm")) == 26
    assert list(calm.store.list("calm/job/state/")) == []


def test_held_out_loss_falls_and_is_told_where_asked(calm: World) -> None:
    """Every fifth step and the last tell it; a tenth of the lines is held out and trained on by nobody."""
    told = {step["step"]: step["eval_loss"] for step in calm.steps("calm") if "eval_loss" in step}

    assert list(told) == [5, 10, 15, 20, 25, 27]
    assert told[27] < 0.9 * told[5]
    provenance = json.loads(calm.store.get("calm/out/provenance.json"))
    assert (provenance["num_examples"], provenance["num_held_out"]) == (108, 12)


@pytest.fixture(scope="module", name="many")
def two_ranks_under_every_engine(calm: World) -> World:
    """The world after two ranks were trained under each of ENGINES, unpacked."""
    sft = SFT | {"packing": "off"}
    jobs = [
        calm.settings(name, dataset_key="data.jsonl", sft=sft, engine={"device": "cpu", **engine})
        for name, engine in ENGINES.items()
    ]
    assert calm.run(MANY, {"job_key": "many", "jobs": jobs}, num_processes=2) == 0
    return calm


@pytest.mark.parametrize("name", [name for name in ENGINES if name.startswith("zero")])
def test_two_ranks_learn_what_one_learns(many: World, name: str) -> None:
    """Unpacked, sharded or not, activations kept or not: the same weights up to the order of sums."""
    ours, theirs = load(many.weights(name)), load(many.weights("calm"))

    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in ENGINES if name.startswith("half")])
def test_bf16_learns_nearly_what_fp32_learns(many: World, name: str) -> None:
    """Held-out loss near fp32's at every evaluation; weights are stored in bf16, and learnt in fp32."""
    told = [[step["eval_loss"] for step in many.steps(each) if "eval_loss" in step] for each in (name, "calm")]

    assert told[0] == pytest.approx(told[1], abs=0.03)
    assert {weight.dtype for weight in load(many.weights(name)).values()} == {torch.bfloat16}
    assert json.loads(many.store.get(f"{name}/job/learnt-in.json")) == ["torch.float32"]


@pytest.mark.parametrize("name", ENGINES)
def test_a_restored_engine_goes_on_to_the_same_bits(many: World, name: str) -> None:
    """On two ranks: the step after a save ends with equal weights in the engine that saved and in one restored."""
    one, other = (many.store.get(f"{name}/job/after-{begun}/model.safetensors") for begun in (0, 1))

    assert one == other


def test_a_killed_job_resumes_to_the_same_bits(calm: World) -> None:
    """Kill -9 amid an epoch, two steps after a save: the next start goes on from it and ends with equal weights."""
    settings = calm.settings("killed", dataset_key="data.jsonl", sft=SFT)
    assert calm.run(str(Path(__file__).with_name("killed_sft.py")), settings) == -9
    finished_before = calm.store.exists("killed/out/MANIFEST.json")

    assert calm.run(MODULE, settings) == 0

    starts = [line for line in calm.log("killed-job").read_text().splitlines() if '"sft starts"' in line]
    assert not finished_before
    assert [json.loads(start)["step"] for start in starts] == [0, 10]
    assert calm.weights("killed") == calm.weights("calm")
    assert _told_after_the_save(calm, "killed") == _told_after_the_save(calm, "calm") != []


def _told_after_the_save(world: World, name: str) -> list[dict[str, float]]:
    """Losses, rates and norms of the steps after the tenth, without seconds."""
    steps = [step for step in world.steps(name) if step["step"] > 10]
    return [{k: v for k, v in step.items() if not k.endswith(("_seconds", "_runtime"))} for step in steps]


def test_a_missing_dataset_is_refused_in_one_line(world: World) -> None:
    """Status 2, and the last line names the key."""
    settings = world.settings("lost", dataset_key="nowhere.jsonl", sft=SFT)

    status = world.run(MODULE, settings)

    assert status == 2
    assert "nowhere.jsonl" in json.loads(world.log("lost-job").read_text().splitlines()[-1])["reason"]
