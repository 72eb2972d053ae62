"""A recipe: one YAML file that says all of a run.

`load_recipe` reads and checks it before any work starts; what is wrong is named with its path, its value and the fix.
The recipe's hash is the identity of a run's artifacts: another recipe never continues them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from retrograde.core.settings import (
    EngineSettings,
    EvaluateSettings,
    LinearizeSettings,
    RewriteSettings,
    RlSettings,
    SearchSettings,
    Settings,
    SftSettings,
)

Arm = Literal["base", "best_of_n", "direct_sft", "astro_sft", "direct_rl", "astro_rl"]


class RecipeError(ValueError):
    """The recipe is wrong; the message has one line per fault: path, value, fix."""


class Policy(Settings):
    """The model the run starts from."""

    checkpoint: str = Field(description="A Hugging Face directory, relative to the recipe or absolute; ~ is expanded.")
    max_model_tokens: int = Field(512, ge=16, description="Longest prompt plus completion that is served.")


class ProblemSource(Settings):
    """Where a split's problems come from; `options` are the task's own (its docstring lists them)."""

    options: dict[str, object] = Field(default_factory=dict, description="Checked by the task.")


class Problems(Settings):
    """The splits."""

    search: ProblemSource
    rl: ProblemSource | None = None
    evaluate: ProblemSource


class Dataset(Settings):
    """How the two SFT arms are matched."""

    match: Literal["count", "tokens"] = Field(
        "count", description="Both arms get equally many solutions, or equally many training tokens."
    )
    direct_share: float = Field(
        0.25, ge=0, le=1, description="Share of direct solutions in the astro arm's data (paper: one in four)."
    )
    max_solutions: int = Field(0, ge=0, description="Cap per arm; 0: as many as the smaller arm allows.")


class RunBudget(Settings):
    """What all trees of a run may spend together, never exceeded; a tree is begun only if its own limit still fits."""

    max_calls: int = Field(0, ge=0, description="Model calls; needs search.max_calls; 0: no limit (ours).")
    max_generated_tokens: int = Field(
        0, ge=0, description="Generated tokens; needs search.max_generated_tokens; 0: no limit (ours)."
    )


class Recipe(Settings):
    """One runnable experiment."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    seed: int = 0
    task: str
    policy: Policy
    problems: Problems
    search: SearchSettings = SearchSettings()
    run_budget: RunBudget = RunBudget()
    priority: int = Field(
        0, ge=-(2**31), lt=2**31, description="Of this run's trees at the engine; those of higher ones go first (ours)."
    )
    linearize: LinearizeSettings = LinearizeSettings()
    rewrite: RewriteSettings = RewriteSettings()
    dataset: Dataset = Dataset()
    engine: EngineSettings = EngineSettings()
    sft: SftSettings = SftSettings()
    rl: RlSettings | None = None
    evaluate: EvaluateSettings = EvaluateSettings()
    arms: tuple[Arm, ...] = ("base", "direct_sft", "astro_sft")

    @model_validator(mode="after")
    def _trees_fit_the_run(self) -> Recipe:
        for name, limit in self.run_budget:
            per_tree = getattr(self.search, name)
            if limit and not 0 < per_tree <= limit:
                raise ValueError(
                    f"run_budget.{name}: {limit} is kept by what one tree may spend, and search.{name} is {per_tree}; "
                    f"set search.{name} to 1..{limit}"
                )
        return self

    @property
    def hash(self) -> str:
        """Twelve hex digits that change with any setting."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def parse_recipe(text: str, where: str = "recipe") -> Recipe:
    """The recipe in `text` (YAML). Raises RecipeError; `where` names the file in its messages."""
    try:
        return Recipe.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise RecipeError("\n".join(_fault(where, fault) for fault in error.errors())) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 13th month, a list in a list in a list
        raise RecipeError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file `path`; the paths it names are taken from its own folder. Raises RecipeError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    recipe = parse_recipe(text, str(path))
    policy = recipe.policy.model_copy(update={"checkpoint": _beside(path, recipe.policy.checkpoint)})
    splits = {split: _source_beside(path, source) for split, source in recipe.problems if source is not None}
    return recipe.model_copy(update={"policy": policy, "problems": recipe.problems.model_copy(update=splits)})


def _beside(path: Path, named: str) -> str:
    return str(path.parent.joinpath(Path(named).expanduser()).resolve())


def _source_beside(path: Path, source: ProblemSource) -> ProblemSource:
    file = source.options.get("file")
    if not isinstance(file, str) or not file:
        return source
    return source.model_copy(update={"options": {**source.options, "file": _beside(path, file)}})


def _fault(where: str, fault: ErrorDetails) -> str:
    path = ".".join(str(part) for part in fault["loc"]) or "(top)"
    if fault["type"] == "extra_forbidden":
        return f"{where}: {path}: unknown key; remove it or correct its spelling"
    return f"{where}: {path}: {fault['msg']} (got {str(fault.get('input'))[:80]!r})"
