"""From one tree to its solutions: self-evaluation, walks, words. What was left out is counted by its reason."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace

import retrograde
from retrograde.core.linearize import Linearized, linearize
from retrograde.core.problem import Cost, Provenance
from retrograde.core.settings import LinearizeSettings
from retrograde.core.tree import SearchTree
from retrograde.recipe.recipe import Recipe
from retrograde.runtime import spans
from retrograde.tasks.task import Task, load_task
from retrograde.wire.convert_solution import SolutionSet
from services.rewriter.judge import Judge, Judgements
from services.rewriter.teller import Subject, Teller, Told

REFUSED_BY_POLICY = "candidate_refused"
"""A correct terminal the policy did not agree with; the walks then start from the next best."""


class Pipeline:
    """Makes solution sets; one for all trees."""

    def __init__(self, judge: Judge, teller: Teller) -> None:
        self._judge = judge
        self._teller = teller

    async def solutions(self, tree: SearchTree, tree_key: str, recipe: Recipe) -> SolutionSet:
        """All solutions the recipe wants of the tree at `tree_key`. The same tree gives the same walks."""
        started = time.monotonic()
        task = load_task(tree.problem.task)
        linearized, judgements = await self.walks(tree, tree_key, task, recipe.linearize)
        with spans.record("tell", about={"retrograde.num_walks": len(linearized.traces)}):
            tolds = await self._teller.tell(Subject(tree, task, recipe.rewrite), linearized.traces)
        rejected = Counter(linearized.rejected)
        for told in tolds:
            rejected.update(told.faults[:1])
        if judgements.num_refused:
            rejected[REFUSED_BY_POLICY] = judgements.num_refused
        provenance = _provenance(tree, tree_key, recipe, judgements.policy_version)
        provenance.cost.add(judgements.cost)
        for told in tolds:
            provenance.cost.add(told.cost)
            _sign(told, provenance)
        provenance.cost.wall_seconds = time.monotonic() - started
        kept = [told.solution for told in tolds if told.solution is not None]
        return SolutionSet(tree.problem.id, kept, dict(rejected), provenance)

    async def walks(
        self, tree: SearchTree, tree_key: str, task: Task, settings: LinearizeSettings
    ) -> tuple[Linearized, Judgements]:
        """The walks, seeded by the tree, and what the policy thinks of its correct terminals."""
        judgements = Judgements(settings.self_evaluation_samples)
        if settings.self_evaluation_samples:
            with spans.record("judge"):
                judgements = await self._judge.judge(tree, tree_key, task, settings.self_evaluation_samples)
        accepted = judgements.accepted if settings.self_evaluation_samples else None
        rng = random.Random(f"{tree.provenance.seed}/{tree.problem.id}")
        with spans.record("linearize"):
            return linearize(tree, settings, rng, tree_key, accepted), judgements


def _provenance(tree: SearchTree, tree_key: str, recipe: Recipe, policy_version: int) -> Provenance:
    return Provenance(
        run_id=tree.provenance.run_id,
        recipe_hash=recipe.hash,
        code_version=retrograde.__version__,
        policy_version=policy_version or tree.provenance.policy_version,
        seed=tree.provenance.seed,
        parent_keys=(tree_key,),
        cost=Cost(),
    )


def _sign(told: Told, provenance: Provenance) -> None:
    """Each solution says where it came from, and what its own words cost."""
    if told.solution is not None:
        version = told.policy_version or provenance.policy_version
        told.solution.provenance = replace(provenance, policy_version=version, cost=told.cost)
