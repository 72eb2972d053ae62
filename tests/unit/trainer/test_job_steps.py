"""The steps of a training job, as people and dashboards see them while it works."""

from __future__ import annotations

import json

import pytest
from prometheus_client import REGISTRY

from retrograde.analysis.job_steps import JobSteps
from services.trainer.stages.job_gauges import hide, show
from tests.unit.search.search_fakes import MemoryStore

STEP = {
    "loss": 0.5, "reward": 0.25, "completions/mean_length": 80.0, "backtracks": 2.5, "policy_lag/mean": 1.0,
    "generated_tokens": 1000, "prompt_tokens": 100, "verifier_calls": 8, "step_seconds": 2.0, "num_steps": 40,
}  # fmt: skip


def steps(*values: dict[str, float]) -> tuple[MemoryStore, JobSteps]:
    store = MemoryStore()
    for i, each in enumerate(values, start=1):
        store.put(f"runs/r/jobs/astro_rl/steps/{i:06d}.json", json.dumps({"step": i, **each}).encode())
    return store, JobSteps(store, "runs/r/jobs/astro_rl/steps/")


def gauge(quantity: str, run: str = "r") -> float | None:
    return REGISTRY.get_sample_value(f"retrograde_trainer_job_{quantity}", {"run": run, "job": "astro_rl"})


def test_one_line_tells_the_latest_step_the_speed_and_the_time_left() -> None:
    """Two steps of two seconds each: 38 more take 76 s, 3,000 tokens took 4 s."""
    _, known = steps(STEP, STEP | {"reward": 0.5, "generated_tokens": 2000})
    assert known.figures() == ""
    known.read()
    assert known.figures() == (
        "reward 0.500, loss 0.5, length 80.0, backtracks 2.50, lag 1, 750 tokens/s, 1 min 16 s left"
    )


def test_fine_tuning_tells_what_it_has() -> None:
    """No rewards, lengths or lags; its tokens are those of the batch."""
    _, known = steps({"loss": 1.25, "num_tokens": 300, "step_seconds": 1.5, "num_steps": 1})
    known.read()
    assert known.figures() == "loss 1.25, 200 tokens/s"


def test_a_step_is_read_once_and_all_are_paid_for() -> None:
    """Reading again fetches new ones alone; the cost is the sum over steps."""
    store, known = steps(STEP, STEP)
    known.read()
    before = store.num_calls
    known.read()
    assert store.num_calls == before + 1
    cost = known.cost()
    assert (cost.generated_tokens, cost.prompt_tokens, cost.verifier_calls) == (2000, 200, 16)
    assert cost.accelerator_seconds == pytest.approx(4.0)


def test_gauges_show_the_latest_step_while_the_job_works() -> None:
    """Under the names of run and job; once it has ended they are gone."""
    _, known = steps(STEP, STEP | {"reward": 0.75})
    known.read()
    show("r", "astro_rl", known)
    shown = [gauge(name) for name in ("step", "reward", "policy_lag_versions", "step_seconds", "tokens_per_second")]
    assert shown == [2.0, 0.75, 1.0, 2.0, 500.0]
    hide("r", "astro_rl")
    assert (gauge("reward"), gauge("tokens_per_second")) == (None, None)


def test_a_job_without_steps_is_at_step_0() -> None:
    """One that waits for its nodes from the first is there to be seen, with nothing but the step."""
    _, known = steps()
    show("r", "astro_rl", known)
    assert (gauge("step"), gauge("reward"), gauge("tokens_per_second")) == (0.0, None, None)
    hide("r", "astro_rl")


def test_two_runs_with_a_job_of_one_name_show_both() -> None:
    """Neither tells the other's steps, nor takes the other's gauges away."""
    _, known = steps(STEP)
    _, others = steps(STEP | {"reward": -1.0})
    for run, each in (("r", known), ("other", others)):
        each.read()
        show(run, "astro_rl", each)
    assert (gauge("reward"), gauge("reward", "other")) == (0.25, -1.0)
    hide("r", "astro_rl")
    assert (gauge("reward"), gauge("reward", "other")) == (None, -1.0)
    hide("other", "astro_rl")
