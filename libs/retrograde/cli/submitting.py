"""`retrograde submit`, and what else asks a trainer that runs elsewhere.

A submitted recipe's paths are read by the trainer, so they must be paths of its own pods and not of this folder.
"""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path

import yaml
from rich.console import Console

from retrograde.cli import checks
from retrograde.cli.door import Door
from retrograde.cli.progress import RunProgress
from retrograde.cli.running import shown_to_its_end
from retrograde.recipe.recipe import Recipe, RecipeError, parse_recipe
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import run_pb2

_AGAIN_SECONDS = 1.0


def read_submitted(path: Path, checkpoint: str | None) -> Recipe:
    """The recipe in `path`, with `checkpoint` instead of its own. Raises RecipeError or InvalidInputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    recipe = parse_recipe(text, str(path))
    if checkpoint is not None:
        recipe = recipe.model_copy(update={"policy": recipe.policy.model_copy(update={"checkpoint": checkpoint})})
    _require_absolute(f"{path}: policy.checkpoint", recipe.policy.checkpoint, "or pass --checkpoint")
    files = {split: source.options["file"] for split, source in recipe.problems if source and "file" in source.options}
    for split, file in files.items():
        _require_absolute(f"{path}: problems.{split}.options.file", file, "on a volume that its pods mount")
    checks.check_task_and_arms(path, recipe)
    if not files:
        checks.read_problems(path, recipe)
    return recipe


def _require_absolute(where: str, value: object, way: str) -> None:
    if not str(value).startswith("/"):
        raise InvalidInputError(
            f"{where}: {value!r} is a path beside the recipe, which the trainer does not see; "
            f"write the absolute path in its pods, {way}"
        )


async def submit(door: Door, recipe: Recipe, run_id: str) -> run_pb2.Run:
    """The run, made or found. Raises ConflictError for another recipe under that id."""
    recipe_yaml = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    async with door.client() as trainer:
        return await trainer.create_run(run_id, recipe_yaml, by=getpass.getuser())


async def follow(door: Door, run_id: str, console: Console) -> None:
    """Shows the run until it ends; a trainer that restarts is found again. Raises RunFailedError."""
    async with door.client() as trainer:
        with RunProgress(console) as progress:
            while not await shown_to_its_end(trainer, run_id, progress):
                await asyncio.sleep(_AGAIN_SECONDS)
                await trainer.get_run(run_id)  # patient; raises once the trainer has been away for too long


async def fetch_report(door: Door, run_id: str) -> dict[str, bytes]:
    """The report's files by name. Raises NotFoundError for a run that has none yet."""
    async with door.client() as trainer:
        return await trainer.run_report(run_id)


async def cancel_run(door: Door, run_id: str) -> run_pb2.Run:
    """The run once it is cancelled, and its jobs have ended."""
    async with door.client() as trainer:
        return await trainer.cancel_run(run_id, by=getpass.getuser())
