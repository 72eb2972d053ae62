"""`retrograde run --dry-run`: what a recipe asks of models, disks and accelerators, from stated assumptions.

Nothing is measured here. Every figure is arithmetic on the recipe and on `Assumptions`, which the plan prints under its
table, so that a reader can disagree with a number and know what it changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table

from retrograde.core.settings import RlSettings
from retrograde.recipe.recipe import ProblemSource, Recipe
from retrograde.tasks.task import TaskError, load_task

_BILLION, _BYTES_PER_WEIGHT = 1e9, 2
_PAPER_PROBLEMS = {"search": 20_700, "rl": 8_700, "evaluate": 570}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the recipe does not say. Peak and shares are of one H100 in bf16 (data sheet: 989 TFLOP/s dense)."""

    fill: float = 0.25
    """Share of a token limit that a completion uses."""
    steps_per_solution: int = 10
    prompt_tokens: int = 200
    valid_share: float = 0.68
    """Trees that give solutions (paper: 14.0K of 20.7K)."""
    peak_flops: float = 989e12
    decode_share: float = 0.15
    prefill_share: float = 0.40
    train_share: float = 0.35
    bytes_per_node: int = 400
    optimiser_bytes_per_weight: int = 14

    def lines(self) -> Iterable[str]:
        """The assumptions in words."""
        yield f"completions fill {self.fill:.0%} of their token limit; a prompt has {self.prompt_tokens} tokens"
        yield f"a solution has {self.steps_per_solution} steps; {self.valid_share:.0%} of trees give solutions (paper)"
        yield (
            f"an accelerator gives {self.peak_flops / 1e12:.0f} TFLOP/s (H100, bf16), of which decoding reaches "
            f"{self.decode_share:.0%}, prefill {self.prefill_share:.0%}, training {self.train_share:.0%}"
        )
        yield "a token costs 2 FLOP per weight to read or write, 6 to train on; cached prefixes are not counted"
        yield f"a tree node is {self.bytes_per_node} B, an optimiser {self.optimiser_bytes_per_weight} B per weight"


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage asks for; `flops` is None where the size of the model is unknown."""

    name: str
    calls: int = 0
    prompt_tokens: float = 0.0
    generated_tokens: float = 0.0
    trained_tokens: float = 0.0
    stored_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages of a recipe, and where its counts come from."""

    stages: list[StagePlan]
    weights: float | None
    notes: list[str]
    assumptions: Assumptions

    def gpu_hours(self, stage: StagePlan) -> float | None:
        """Accelerator hours of a stage; None where the size of the model is unknown."""
        if self.weights is None:
            return None
        a = self.assumptions
        seconds = 2 * stage.prompt_tokens / a.prefill_share + 2 * stage.generated_tokens / a.decode_share
        seconds += 6 * stage.trained_tokens / a.train_share
        return seconds * self.weights / a.peak_flops / 3600


def make_plan(recipe: Recipe, assumptions: Assumptions | None = None) -> Plan:
    """The plan of a checked recipe. Counts problems by their options, or by the task where it can."""
    a = assumptions or Assumptions()
    notes: list[str] = []
    counts = {
        split: _count(recipe, split, source, notes)
        for split, source in (
            ("search", recipe.problems.search),
            ("rl", recipe.problems.rl),
            ("evaluate", recipe.problems.evaluate),
        )
        if source is not None
    }
    weights = _weights(Path(recipe.policy.checkpoint), notes)
    stages = [_search(recipe, counts["search"], a), _rewrite(recipe, counts["search"], a)]
    for data in ("direct", "astro"):
        if {f"{data}_sft", f"{data}_rl"} & set(recipe.arms):
            stages.append(_sft(recipe, data, counts["search"], weights, a))
        if f"{data}_rl" in recipe.arms and recipe.rl is not None:
            stages.append(_rl(recipe.rl, data, weights, a))
    stages.append(_evaluate(recipe, counts["evaluate"], a))
    return Plan(stages, weights, notes, a)


def _search(recipe: Recipe, problems: int, a: Assumptions) -> StagePlan:
    s = recipe.search
    evaluations = s.num_iterations * (s.num_actions if s.evaluate == "children" else 1) if s.num_rollouts else 0
    proposed = s.num_iterations * s.num_actions * s.max_step_tokens * a.fill
    rolled = evaluations * s.num_rollouts * s.max_rollout_tokens * a.fill
    calls = problems * (s.num_iterations + evaluations)
    nodes = problems * s.num_iterations * s.num_actions
    depth_tokens = a.prompt_tokens + a.steps_per_solution / 2 * s.max_step_tokens * a.fill
    stored = 2 * nodes * a.bytes_per_node + 4 * problems * rolled
    return StagePlan("search", calls, calls * depth_tokens, problems * (proposed + rolled), stored_bytes=stored)


def _rewrite(recipe: Recipe, problems: int, a: Assumptions) -> StagePlan:
    valid = problems * a.valid_share
    judged = valid * recipe.linearize.self_evaluation_samples
    solution = a.steps_per_solution * recipe.search.max_step_tokens * a.fill
    calls, generated, prompts = valid if judged else 0.0, judged * 4, (valid if judged else 0) * solution
    if recipe.rewrite.method == "llm":
        steps = valid * sum(k + 1 for k in recipe.linearize.num_wrong) * a.steps_per_solution / 2
        calls += steps
        generated += steps * recipe.rewrite.max_sentence_tokens * a.fill
        prompts += steps * (a.prompt_tokens + solution)
    stored = valid * (1 + len(recipe.linearize.num_wrong)) * solution * 8
    return StagePlan("rewrite", round(calls), prompts, generated, stored_bytes=stored)


def _solutions(recipe: Recipe, problems: int, a: Assumptions) -> float:
    found = problems * a.valid_share
    return min(found, recipe.dataset.max_solutions or found)


def _sft(recipe: Recipe, data: str, problems: int, weights: float | None, a: Assumptions) -> StagePlan:
    branches = 1 if data == "direct" else 1 + max(recipe.linearize.num_wrong, default=0) / 2
    tokens = a.prompt_tokens + branches * a.steps_per_solution * recipe.search.max_step_tokens * a.fill
    trained = _solutions(recipe, problems, a) * recipe.sft.num_epochs * min(tokens, recipe.sft.max_tokens)
    return StagePlan(f"sft {data}", trained_tokens=trained, stored_bytes=_trained_bytes(weights, a, kept=1))


def _rl(rl: RlSettings, data: str, weights: float | None, a: Assumptions) -> StagePlan:
    groups = rl.num_steps * rl.prompts_per_step
    generated = groups * rl.group_size * rl.max_tokens * a.fill
    is_old_recomputed = rl.old_logprobs == "recomputed" and rl.num_epochs * rl.num_minibatches > 1
    num_forward = (rl.num_epochs if rl.kl_coefficient > 0 else 0) + is_old_recomputed
    num_passes = rl.num_epochs + num_forward / 3  # a forward pass is a third of a training pass
    return StagePlan(
        f"rl {data}",
        groups,
        groups * a.prompt_tokens,
        generated,
        trained_tokens=generated * num_passes,
        stored_bytes=_trained_bytes(weights, a, kept=3),
    )


def _evaluate(recipe: Recipe, problems: int, a: Assumptions) -> StagePlan:
    arms = len(recipe.arms)
    calls = problems * arms
    generated = calls * recipe.evaluate.num_samples * recipe.evaluate.max_tokens * a.fill
    return StagePlan("evaluate", calls, calls * a.prompt_tokens, generated, stored_bytes=4 * generated)


def _trained_bytes(weights: float | None, a: Assumptions, kept: int) -> float:
    return (weights or 0.0) * (_BYTES_PER_WEIGHT * kept + a.optimiser_bytes_per_weight)


def _count(recipe: Recipe, split: str, source: ProblemSource, notes: list[str]) -> int:
    count = source.options.get("count")
    if isinstance(count, int):
        return count
    try:
        return len(load_task(recipe.task).problems(source.options, split, recipe.seed))
    except TaskError as error:
        limit = source.options.get("limit")
        assumed, whose = (limit, "its limit of") if isinstance(limit, int) else (_PAPER_PROBLEMS[split], "the paper's")
        notes.append(f"problems.{split}: cannot be counted here ({error}); {whose} {assumed:,} are assumed")
        return assumed


def _weights(checkpoint: Path, notes: list[str]) -> float | None:
    """Weights of the model: from its files, else from a size in its name such as 70B."""
    files = list(checkpoint.glob("*.safetensors"))
    if files:
        return sum(path.stat().st_size for path in files) / _BYTES_PER_WEIGHT
    sizes = _SIZE.findall(checkpoint.name)
    if sizes:
        number, unit = sizes[-1]
        weights = float(number) * (_BILLION if unit.lower() == "b" else 1e6)
        notes.append(f"policy.checkpoint: {checkpoint} is not here; {weights / _BILLION:g} billion weights by its name")
        return weights
    notes.append(f"policy.checkpoint: {checkpoint} is not here and its name says no size; GPU-hours are not given")
    return None


def plan_view(recipe: Recipe) -> Group:
    """The plan as it is printed."""
    plan = make_plan(recipe)
    table = Table(title=f"{recipe.name} (recipe {recipe.hash}), arms: {', '.join(recipe.arms)}", title_justify="left")
    for head in ("stage", "model calls", "prompt tokens", "generated", "trained on", "storage", "GPU-hours"):
        table.add_column(head, justify="left" if head == "stage" else "right")
    for stage in plan.stages:
        table.add_row(stage.name, *_cells(plan, [stage]))
    table.add_section()
    table.add_row("all", *_cells(plan, plan.stages))
    words = [f"note: {note}" for note in plan.notes] + [f"assumed: {line}" for line in plan.assumptions.lines()]
    return Group(table, *words)


def _cells(plan: Plan, stages: list[StagePlan]) -> list[str]:
    hours = [plan.gpu_hours(stage) for stage in stages]
    known = [each for each in hours if each is not None]
    return [
        f"{sum(stage.calls for stage in stages):,}",
        _scaled(sum(stage.prompt_tokens for stage in stages)),
        _scaled(sum(stage.generated_tokens for stage in stages)),
        _scaled(sum(stage.trained_tokens for stage in stages)),
        _scaled(sum(stage.stored_bytes for stage in stages)) + "B",
        f"{sum(known):,.3g}" if known else "?",
    ]


def _scaled(value: float) -> str:
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} "
