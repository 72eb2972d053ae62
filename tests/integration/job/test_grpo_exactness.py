"""GRPO on fixed rollouts: killed and resumed, and on one rank or two, it ends with the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from tiny_world import World, build_world, kill, wait_until

pytestmark = pytest.mark.engine
MODULE = str(Path(__file__).with_name("fixed_grpo.py"))
NUM_STEPS = 8
PROMPTS_PER_STEP = 3
RL = {
    "num_steps": NUM_STEPS,
    "prompts_per_step": PROMPTS_PER_STEP,
    "learning_rate": 0.003,
    "num_epochs": 2,
    "num_minibatches": 2,
    "old_logprobs": "recomputed",
    "importance_correction": "token_truncate",
    "kl_coefficient": 0.01,
    "max_policy_lag": 2,
    "micro_batch_tokens": 60,
    "save_every": 3,
    "max_tokens": 8,
}


def settings(world: World, name: str) -> dict[str, object]:
    keys = {"prompts_key": "data.jsonl", "policies_key": f"{name}/policies", "feed": "feed@0.05", "rollouts": "none:1"}
    return world.settings(name, rl=RL, **keys)


@pytest.fixture(scope="module", name="world")
def three_runs(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A calm run, one that was killed after its fifth step and started again, and a calm one on two ranks."""
    world = build_world(tmp_path_factory.mktemp("exact"))
    assert world.run(MODULE, settings(world, "calm")) == 0
    job = world.start(MODULE, settings(world, "killed"))
    try:
        wait_until(lambda: world.store.exists("killed/job/steps/000005.json"), job)
    finally:
        kill(job)
    assert not world.store.exists("killed/out/MANIFEST.json")
    assert world.run(MODULE, settings(world, "killed")) == 0
    assert world.run(MODULE, settings(world, "pair"), num_processes=2) == 0
    return world


def test_a_killed_run_ends_with_the_calm_ones_weights_bit_for_bit(world: World) -> None:
    """Up to two steps' groups were pulled ahead when it died: the next life gets them again, at the same steps."""
    assert world.weights("killed") == world.weights("calm")
    assert world.weights("calm") != world.store.get("init/model.safetensors")


@pytest.mark.parametrize("name", ["calm", "killed", "pair"])
def test_every_group_is_acknowledged_once(world: World, name: str) -> None:
    """None lost, none twice (the source refuses), and none pulled beyond the last step."""
    acknowledged = json.loads((world.folder / f"{name}.tickets").read_text())

    assert sorted(acknowledged) == list(range(NUM_STEPS * PROMPTS_PER_STEP))


def test_no_sample_is_older_than_the_lag(world: World) -> None:
    """From the third step on samples are two policies behind, never more."""
    lags = [step["policy_lag/max"] for step in world.steps("calm")]

    assert lags == [0, 1, *[2] * (NUM_STEPS - 2)]


def test_two_ranks_end_where_one_does(world: World) -> None:
    """Sums of gradients over gloo differ in rounding only."""
    alone, pair = load(world.weights("calm")), load(world.weights("pair"))

    for name, weight in alone.items():
        torch.testing.assert_close(pair[name], weight, rtol=1e-3, atol=1e-4)
    for one, two in zip(world.steps("calm"), world.steps("pair"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
