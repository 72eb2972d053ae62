"""GRPO through real DeepSpeed, on a scripted feed that samples from the published weights."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from tiny_world import World, build_world, kill, wait_until

pytestmark = pytest.mark.engine
MODULE = str(Path(__file__).with_name("scripted_grpo.py"))
NUM_STEPS = 24
RL = {
    "num_steps": NUM_STEPS,
    "prompts_per_step": 8,
    "group_size": 4,
    "learning_rate": 0.01,
    "kl_coefficient": 0.001,
    "micro_batch_tokens": 128,
    "save_every": 5,
    "max_tokens": 8,
}


@pytest.fixture(scope="module", name="killed")
def run_killed_once(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world after a run on two ranks that was killed two steps after a save, and started again."""
    world = build_world(tmp_path_factory.mktemp("grpo"))
    keys = {"prompts_key": "data.jsonl", "policies_key": "rl/policies", "feed": "feed", "rollouts": "nowhere:1"}
    settings = world.settings("rl", rl=RL, **keys)
    job = world.start(MODULE, settings, num_processes=2)
    wait_until(lambda: world.store.exists("rl/job/steps/000012.json"), job)
    kill(job)
    assert not world.store.exists("rl/out/MANIFEST.json")
    assert world.run(MODULE, settings, num_processes=2) == 0
    return world


def test_the_reward_rises(killed: World) -> None:
    """From mostly wrong at the start to mostly right at the end, through the kill."""
    rewards = [step["reward"] for step in killed.steps("rl")]

    assert len(rewards) == NUM_STEPS
    assert statistics.fmean(rewards[:3]) < 0
    assert statistics.fmean(rewards[-3:]) > 0.8


def test_the_killed_job_redid_exactly_the_unacknowledged_groups(killed: World) -> None:
    """Every ticket up to the last is acknowledged once: none lost with the killed steps, none used twice."""
    acknowledged = json.loads((killed.folder / "tickets.json").read_text())

    assert sorted(acknowledged) == list(range(NUM_STEPS * 8))


def test_the_second_life_went_on_from_the_save(killed: World) -> None:
    """Both ranks start at a save of the first life, not at zero."""
    starts = [json.loads(line) for line in killed.log("rl-job").read_text().splitlines() if '"grpo starts"' in line]

    assert {start["step"] for start in starts[:2]} == {0}
    assert {start["step"] for start in starts[2:]} <= {10, 15, 20}


def test_the_engine_and_the_trainer_agree_on_fresh_samples(killed: World) -> None:
    """Sampled by the same weights in the same arithmetic, mismatch is nil and nothing is clipped."""
    for step in killed.steps("rl"):
        assert abs(step["mismatch_kl"]) < 1e-6
        assert step["clip_ratio/region_mean"] == 0
        assert step["kl"] >= 0


def test_only_the_last_two_policies_are_kept(killed: World) -> None:
    """Weights nobody will load again are deleted; the output is the last of them."""
    kept = {key.split("/")[2] for key in killed.store.list("rl/policies/")}

    assert kept == {f"{NUM_STEPS - 1:06d}", f"{NUM_STEPS:06d}"}
    assert killed.weights("rl") == killed.store.get(f"rl/policies/{NUM_STEPS:06d}/model.safetensors")
