"""`report.json`: every figure of a run, under names that are a stable contract. Ratios are 0-1.

run_id, recipe, recipe_hash, code_version    what was run, and by which code
arms         arm -> task -> n, pass_at_1, ci95, maj_at_k, k, mean_tokens, mean_backtracks, valid_backtracks, ...
equal_tokens astro arms against parallel sampling from the direct arms for the same inference tokens
search       problems, solved, trees, valid;  solutions  direct, search, rejected
rl           arm -> curves per step: step, reward, length, backtracks
correlation  backtracks_score, partial_given_length, within_problem, ...
cost         stage -> prompt_tokens, generated_tokens, verifier_calls, wall_seconds, accelerator_seconds
method       how the figures were made, in words
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from retrograde.analysis.artifacts import Metrics, Row, RunArtifacts, SearchFacts
from retrograde.analysis.correlation import correlation
from retrograde.analysis.scores import equal_tokens, score_arm, score_best_of_n
from retrograde.v1 import run_pb2

METHOD = {
    "pass_at_1": "mean over problems of the share of right samples",
    "ci95": "percentile interval of a bootstrap over problems (samples of one problem are drawn together)",
    "maj_at_k": "mean over random subsets of k samples of the boxed answers' vote; a sample that boxes none withdraws",
    "best_of_n": "base samples for as many generated tokens as one search tree, one answer by their own vote",
    "equal_tokens": "k direct samples vote, k x their tokens nearest to one astro answer's; paired by problem",
}
_CURVES = {
    "step": "step",
    "reward": "reward",
    "length": "completions/mean_length",
    "backtracks": "backtracks",
    "reward_std": "reward_std",
    "kl": "kl",
    "entropy": "entropy",
}


def build_report(artifacts: RunArtifacts) -> dict[str, Any]:
    """The report of the run as JSON values."""
    return {
        "run_id": artifacts.run.id,
        "recipe": artifacts.recipe,
        "recipe_hash": artifacts.run.recipe_hash,
        "code_version": artifacts.provenance.code_version,
        "arms": {arm: _by_task(arm, rows, artifacts) for arm, rows in artifacts.rows.items()},
        "equal_tokens": equal_tokens(artifacts.rows),
        "search": _search(artifacts.facts, len(artifacts.problems["search"])),
        "solutions": _solutions(artifacts.facts),
        "rl": {arm: curves(steps) for arm, steps in artifacts.steps.items() if arm.endswith("_rl")},
        "correlation": correlation(artifacts.rows, artifacts.steps),
        "cost": {stage.name: _cost(stage) for stage in artifacts.run.stages},
        "method": METHOD,
    }


def curves(steps: Sequence[Metrics]) -> dict[str, list[float]]:
    """Per-step values of RL under the contract's names; a metric that the job did not write is left out."""
    return {ours: [step[theirs] for step in steps] for ours, theirs in _CURVES.items() if steps and theirs in steps[0]}


def _by_task(arm: str, rows: Sequence[Row], artifacts: RunArtifacts) -> dict[str, Any]:
    """Figures over all problems under the task's name; where problems name several sources, also under each."""
    task = str(artifacts.recipe.get("task", "task"))
    sources = {problem.id: problem.source for problem in artifacts.problems["evaluate"]}
    groups: dict[str, list[Row]] = {task: list(rows)}
    if len(set(sources.values())) > 1:
        for row in rows:
            groups.setdefault(sources.get(row.problem_id) or "unnamed source", []).append(row)
    k = int(_evaluate(artifacts.recipe).get("majority", 1))
    return {
        name: score_best_of_n(group) if arm == "best_of_n" else score_arm(group, k) for name, group in groups.items()
    }


def _evaluate(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = recipe.get("evaluate")
    return settings if isinstance(settings, dict) else {}


def _search(facts: SearchFacts, num_problems: int) -> dict[str, Any]:
    trees = max(1, facts.trees)
    return {
        "problems": num_problems,
        "trees": facts.trees,
        "solved": facts.solved,
        "valid": facts.valid,
        "solved_share": facts.solved / trees,
        "mean_nodes": facts.nodes / trees,
        "mean_generated_tokens": facts.generated_tokens / trees,
    }


def _solutions(facts: SearchFacts) -> dict[str, Any]:
    return {
        "direct": facts.direct,
        "search": facts.search,
        "rejected": dict(sorted(facts.rejected.items())),
        "rewriters": dict(sorted(facts.rewriters.items())),
    }


def _cost(stage: run_pb2.Stage) -> dict[str, Any]:
    cost = stage.cost
    return {
        "prompt_tokens": cost.prompt_tokens,
        "generated_tokens": cost.generated_tokens,
        "verifier_calls": cost.verifier_calls,
        "wall_seconds": cost.wall_seconds,
        "accelerator_seconds": cost.accelerator_seconds,
    }
