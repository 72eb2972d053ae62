"""The dry run's arithmetic, on figures small enough for a hand and on the paper's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipes_cli import write_recipe

from retrograde.cli.planning import Assumptions, make_plan
from retrograde.recipe.recipe import load_recipe

_SEARCH = {"num_iterations": 4, "num_actions": 3, "num_rollouts": 2, "max_step_tokens": 40, "max_rollout_tokens": 400}


def test_search_by_hand(tmp_path: Path) -> None:
    """5 problems x 4 iterations: 20 proposals of 3 x 10 tokens and 20 evaluations of 2 x 100 tokens."""
    plan = make_plan(load_recipe(write_recipe(tmp_path, search=_SEARCH)))
    search = plan.stages[0]
    assert search.calls == 5 * (4 + 4)
    assert search.generated_tokens == 5 * (4 * 3 * 10 + 4 * 2 * 100)


def test_evaluating_each_child_costs_a_rollout_set_each(tmp_path: Path) -> None:
    """With `evaluate: children` each of the 3 children of an expansion gets its own rollouts."""
    plan = make_plan(load_recipe(write_recipe(tmp_path, search=_SEARCH | {"evaluate": "children"})))
    assert plan.stages[0].calls == 5 * (4 + 12)


def test_stages_follow_the_arms(tmp_path: Path) -> None:
    """Only what the arms need is planned; an RL arm includes its SFT."""
    names = [stage.name for stage in make_plan(load_recipe(write_recipe(tmp_path, arms=["base", "astro_rl"]))).stages]
    assert names == ["search", "rewrite", "sft astro", "rl astro", "evaluate"]


@pytest.mark.parametrize(
    ("settings", "num_passes"),
    [
        ({}, 1),
        ({"num_epochs": 3}, 3),
        ({"num_epochs": 3, "kl_coefficient": 0.1}, 4),
        ({"num_epochs": 3, "old_logprobs": "recomputed"}, 3 + 1 / 3),
        ({"num_epochs": 1, "old_logprobs": "recomputed"}, 1),
    ],
)
def test_every_pass_over_the_samples_is_counted(tmp_path: Path, settings: dict[str, Any], num_passes: float) -> None:
    """Each epoch trains on all of them; the reference reads them each time and the old policy once, a third of that."""
    rl = {"num_steps": 2, "prompts_per_step": 4, "group_size": 4, "max_tokens": 100, **settings}
    stages = make_plan(load_recipe(write_recipe(tmp_path, arms=["base", "astro_rl"], rl=rl))).stages
    (stage,) = [each for each in stages if each.name == "rl astro"]
    assert stage.trained_tokens == pytest.approx(stage.generated_tokens * num_passes)


def test_weights_come_from_the_files(tmp_path: Path) -> None:
    """2,000 bytes of safetensors are 1,000 weights of two bytes."""
    assert make_plan(load_recipe(write_recipe(tmp_path))).weights == 1000


@pytest.mark.parametrize(
    ("name", "weights"),
    [("Llama-3.1-70B-Instruct", 70e9), ("SmolLM2-135M-Instruct", 135e6), ("llama-70b", 70e9), ("mystery", None)],
)
def test_a_model_that_is_not_here_is_sized_by_its_name(tmp_path: Path, name: str, weights: float | None) -> None:
    """`70B` in the name is 70 billion weights, and the plan says that it guessed; no size gives no GPU-hours."""
    recipe = load_recipe(write_recipe(tmp_path, policy={"checkpoint": f"models/{name}"}))
    plan = make_plan(recipe)
    assert plan.weights == weights
    assert any(name in note for note in plan.notes)
    assert (plan.gpu_hours(plan.stages[0]) is None) == (weights is None)


def test_the_papers_sft_costs_what_it_cost(tmp_path: Path) -> None:
    """36.1K solutions on 70B took 64 H100 some 40 minutes, 43 GPU-hours: the plan is within a factor of two."""
    problems = {split: {"options": {"count": 60_000}} for split in ("search", "rl", "evaluate")}
    recipe = load_recipe(
        write_recipe(
            tmp_path,
            policy={"checkpoint": "Llama-3.1-70B-Instruct"},
            problems=problems,
            dataset={"max_solutions": 36_100},
        )
    )
    plan = make_plan(recipe)
    sft = next(stage for stage in plan.stages if stage.name == "sft astro")
    hours = plan.gpu_hours(sft)
    assert hours is not None
    assert 43 / 2 < hours < 43 * 2


def test_every_assumption_is_stated() -> None:
    """The printed assumptions name the figures they are made of."""
    words = " ".join(Assumptions().lines())
    for figure in ("25%", "200", "10 steps", "68%", "989", "15%", "40%", "35%", "400 B", "14 B"):
        assert figure in words
