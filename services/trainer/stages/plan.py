"""From a recipe to the stages of its run, ordered so that the served weights change as seldom as possible.

problems, policy -> search -> rewrite -> (base, best_of_n) -> dataset -> rl prompts
-> sft direct -> evaluate -> rl direct -> evaluate -> sft astro -> evaluate -> rl astro -> evaluate -> report
"""

from __future__ import annotations

from retrograde.recipe.recipe import Recipe
from retrograde.runtime.errors import InvalidInputError
from services.trainer.stages.dataset import DatasetStage
from services.trainer.stages.evaluate import BandStage, BestOfNStage, EvaluateStage
from services.trainer.stages.problems import PolicyStage, ProblemsStage
from services.trainer.stages.report import ReportStage
from services.trainer.stages.search import RewriteStage, SearchStage
from services.trainer.stages.stage import Stage
from services.trainer.stages.training import RlStage, SftStage


def plan(recipe: Recipe) -> list[Stage]:
    """The stages in order. Raises InvalidInputError when an arm lacks what it needs."""
    stages: list[Stage] = [ProblemsStage(), PolicyStage(), SearchStage(), RewriteStage()]
    if "base" in recipe.arms or "best_of_n" in recipe.arms:
        stages.append(EvaluateStage("base"))
    if "best_of_n" in recipe.arms:
        stages.append(BestOfNStage())
    stages.append(DatasetStage())
    if recipe.rl is not None and any(arm.endswith("_rl") for arm in recipe.arms):
        stages.append(BandStage(recipe.rl))
    for data in ("direct", "astro"):
        stages.extend(_arm_stages(recipe, data))
    return [*stages, ReportStage()]


def _arm_stages(recipe: Recipe, data: str) -> list[Stage]:
    stages: list[Stage] = []
    sft, rl = f"{data}_sft", f"{data}_rl"
    if sft in recipe.arms or rl in recipe.arms:
        stages.append(SftStage(data))
    if sft in recipe.arms:
        stages.append(EvaluateStage(sft))
    if rl in recipe.arms:
        if recipe.rl is None or recipe.problems.rl is None:
            raise InvalidInputError(f"arms: {rl} needs both `rl` and `problems.rl` in the recipe")
        stages += [RlStage(data, recipe.rl), EvaluateStage(rl)]
    return stages
