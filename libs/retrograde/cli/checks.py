"""What can be known to be wrong before any work starts: the recipe, its task, its problems, its checkpoint.

Every fault is one line that names what, where and what to do; `main` prints it and leaves with status 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retrograde.core.problem import Problem
from retrograde.recipe.recipe import Recipe, load_recipe
from retrograde.runtime.errors import InvalidInputError
from retrograde.tasks.task import TaskError, load_task


def read_recipe(path: Path, *, needs_checkpoint: bool = True) -> Recipe:
    """The recipe, checked as far as it can be without its problems. Raises RecipeError or InvalidInputError."""
    recipe = load_recipe(path)
    check_task_and_arms(path, recipe)
    if needs_checkpoint:
        _check_checkpoint(path, Path(recipe.policy.checkpoint))
    return recipe


def check_task_and_arms(path: Path, recipe: Recipe) -> None:
    """Raises InvalidInputError for a task that is not there, and for an arm whose settings are not."""
    try:
        load_task(recipe.task)
    except TaskError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    _check_arms(path, recipe)


def read_problems(path: Path, recipe: Recipe) -> Mapping[str, list[Problem]]:
    """The problems of every split. Raises InvalidInputError naming the recipe's key, or a file and its line."""
    task = load_task(recipe.task)
    sources = {"search": recipe.problems.search, "rl": recipe.problems.rl, "evaluate": recipe.problems.evaluate}
    problems = {}
    for split, source in sources.items():
        if source is None:
            continue
        try:
            problems[split] = task.problems(source.options, split, recipe.seed)
        except TaskError as error:
            raise InvalidInputError(f"{path}: problems.{split}.{error}") from error
        if not problems[split]:
            raise InvalidInputError(f"{path}: problems.{split}: no problems; widen its options")
    return problems


def _check_arms(path: Path, recipe: Recipe) -> None:
    for arm in recipe.arms:
        if arm.endswith("_rl") and (recipe.rl is None or recipe.problems.rl is None):
            raise InvalidInputError(f"{path}: arms: {arm} needs both `rl` and `problems.rl`; add them or drop the arm")


def _check_checkpoint(path: Path, folder: Path) -> None:
    if not folder.is_dir():
        fault = "no such folder"
    elif not (folder / "config.json").is_file():
        fault = "no config.json in it"
    elif not any(folder.glob("*.safetensors")):
        fault = "no *.safetensors in it"
    else:
        return
    raise InvalidInputError(
        f"{path}: policy.checkpoint: {folder}: {fault}; name a Hugging Face model directory "
        "(the recipe's head says how to get its model)"
    )
