"""A recipe is checked before work starts: what is wrong is named with its path, its value and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.recipe.recipe import RecipeError, load_recipe, parse_recipe

ROOT = Path(__file__).resolve().parents[3]
GOOD = """
name: x
task: math
policy: {checkpoint: model}
problems:
  search: {options: {file: data/problems.jsonl}}
  evaluate: {options: {file: /data/held-out.jsonl}}
"""


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(recipe: Path) -> None:
    """Every recipe of the repository loads."""
    assert load_recipe(recipe).name == recipe.stem


def test_paths_are_taken_from_the_recipes_folder(tmp_path: Path) -> None:
    """Checkpoint and problem files beside the recipe are found from any working directory."""
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.policy.checkpoint == str(tmp_path / "model")
    assert recipe.problems.search.options["file"] == str(tmp_path / "data/problems.jsonl")
    assert recipe.problems.evaluate.options["file"] == "/data/held-out.jsonl"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("search: {num_iteration: 5}", "r: search.num_iteration: unknown key; remove it or correct its spelling"),
        ("seed: many", "r: seed: Input should be a valid integer, unable to parse string as an integer (got 'many')"),
        ("rl: {group_size: 1}", "r: rl.group_size: Input should be greater than or equal to 2 (got '1')"),
        ("arms: [astro]", "r: arms.0: "),
    ],
)
def test_a_fault_is_one_line_that_names_it(line: str, message: str) -> None:
    """Misspelt keys, wrong types and values out of range."""
    with pytest.raises(RecipeError) as raised:
        parse_recipe(GOOD + line, "r")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_text_that_is_no_yaml_is_named() -> None:
    """The error says where."""
    with pytest.raises(RecipeError, match=r"^r: not YAML: .*line 1"):
        parse_recipe("name: [", "r")


@pytest.mark.parametrize("text", ["seed: 2026-13-45", "seed: " + "[" * 100_000], ids=["no such date", "too deep"])
def test_text_that_yaml_cannot_take_is_named(text: str) -> None:
    """Whatever it fails with: the recipe is wrong, not the program."""
    with pytest.raises(RecipeError, match=r"^r: not YAML: "):
        parse_recipe(text, "r")


def test_any_setting_changes_the_hash() -> None:
    """Another recipe is another run."""
    assert parse_recipe(GOOD).hash == parse_recipe(GOOD).hash
    assert parse_recipe(GOOD).hash != parse_recipe(GOOD + "seed: 1").hash
