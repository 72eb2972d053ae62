"""A recipe's arms decide the stages of its run."""

from __future__ import annotations

import pytest

from retrograde.recipe.recipe import Recipe
from retrograde.runtime.errors import InvalidInputError
from services.trainer.stages.plan import plan


def recipe(**changes: object) -> Recipe:
    source = {"options": {"count": 3}}
    settings = {
        "name": "x",
        "task": "countdown",
        "policy": {"checkpoint": "base"},
        "problems": {"search": source, "rl": source, "evaluate": source},
        "rl": {},
    }
    return Recipe.model_validate(settings | changes)


def names(of: Recipe) -> list[str]:
    return [stage.name for stage in plan(of)]


def test_all_arms() -> None:
    """Six arms make the whole loop, weights changing in one direction."""
    arms = ["base", "best_of_n", "direct_sft", "astro_sft", "direct_rl", "astro_rl"]
    assert names(recipe(arms=arms)) == [
        "problems", "policy", "search", "rewrite", "evaluate base", "evaluate best_of_n", "dataset", "rl prompts",
        "sft direct", "evaluate direct_sft", "rl direct", "evaluate direct_rl",
        "sft astro", "evaluate astro_sft", "rl astro", "evaluate astro_rl", "report",
    ]  # fmt: skip


def test_an_rl_arm_trains_the_sft_it_starts_from() -> None:
    """Asking for RL alone still fine-tunes first, without evaluating that arm."""
    assert names(recipe(arms=["astro_rl"]))[4:] == [
        "dataset", "rl prompts", "sft astro", "rl astro", "evaluate astro_rl", "report",
    ]  # fmt: skip


def test_an_rl_arm_without_settings_is_refused() -> None:
    """The error names the arm and what is missing."""
    with pytest.raises(InvalidInputError, match=r"astro_rl needs both `rl` and `problems\.rl`"):
        plan(recipe(arms=["astro_rl"], rl=None))
