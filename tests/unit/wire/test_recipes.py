"""A run's recipe is read once from the store, and what is wrong in settings is named with its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.core.settings import LinearizeSettings
from retrograde.recipe.recipe import Policy, Problems, ProblemSource, Recipe
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.wire.recipes import Recipes, parse_settings

RECIPE = Recipe(
    name="small",
    task="countdown",
    policy=Policy(checkpoint="/nowhere"),
    problems=Problems(search=ProblemSource(), evaluate=ProblemSource()),
)


async def test_recipe_is_read_once(tmp_path: Path) -> None:
    """The second question is answered without the store."""
    store = open_store(f"file://{tmp_path}")
    store.put("runs/r/recipe.json", RECIPE.model_dump_json().encode())
    recipes = Recipes(store)
    assert await recipes.get("runs/r/recipe.json") == RECIPE
    store.delete("runs/r/recipe.json")
    assert await recipes.get("runs/r/recipe.json") == RECIPE


async def test_only_the_newest_recipes_are_kept(tmp_path: Path) -> None:
    """A service that has worked for very many runs forgets those it did not meet for longest."""
    store = open_store(f"file://{tmp_path}")
    recipes = Recipes(store)
    for number in range(65):
        store.put(f"{number}.json", RECIPE.model_dump_json().encode())
        await recipes.get(f"{number}.json")
        store.delete(f"{number}.json")
    assert await recipes.get("64.json") == RECIPE
    with pytest.raises(NotFoundError):
        await recipes.get("0.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"num_worng": [1]}', r"settings_json\.num_worng: Extra inputs"),
        ('{"self_evaluation_samples": -1}', r"settings_json\.self_evaluation_samples: .*got '-1'"),
        ("{", r"settings_json: Invalid JSON"),
    ],
)
def test_faults_name_where_and_what(text: str, told: str) -> None:
    """Unknown keys, values out of range, and text that is no JSON."""
    with pytest.raises(InvalidInputError, match=told):
        parse_settings(LinearizeSettings, text, "settings_json")


def test_nothing_said_takes_the_defaults() -> None:
    """An empty string is no settings at all."""
    assert parse_settings(LinearizeSettings, "", "settings_json") == LinearizeSettings()
