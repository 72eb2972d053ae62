"""Gumbel selection with Sequential Halving at the root (Danihelka et al., ICLR 2022).

At the root the `m` likeliest children by prior plus Gumbel noise are considered; the budget of iterations is shared out
evenly among them, then among the better half, and so on. Below the root the child is taken whose visits lag most behind
its improved share, the softmax of prior and value. Nothing is sampled below the root: the noise is drawn once.
"""

from __future__ import annotations

import math
import random

from retrograde.core.selection import Score, Traffic, candidates, discounted
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, SearchTree

_VISIT_OFFSET = 50  # of the value's weight, as in that paper


class GumbelSelection:
    """Scores for `select`: at the root by the schedule, below it by the lag in visits."""

    def __init__(self, tree: SearchTree, settings: SearchSettings, traffic: Traffic) -> None:
        self._tree = tree
        self._settings = settings
        self._traffic = traffic
        self._noise: dict[int, float] = {}
        self._schedule: list[int] = []
        self.num_taken = 0  # selections made at the root

    def scorer(self) -> Score:
        """The score of a child at this moment."""
        return lambda parent, child: self._root_score(child) if parent == ROOT else self._lag(parent, child)

    def _root_score(self, child: int) -> float:
        """Of those with as many visits as are due, the best; the others after them, the least visited first."""
        self._prepare()
        due = self._schedule[min(self.num_taken, len(self._schedule) - 1)]
        visits = self._tree.nodes[child].visits + self._traffic.count(child)
        score = self._noise[child] + self._logit(child) + self._weighted(ROOT, child)
        return score if visits == due else score - _FAR * (1 + abs(visits - due))

    def _prepare(self) -> None:
        children = candidates(self._tree, ROOT)
        if self._noise or not children:
            return
        source = random.Random(f"{self._tree.provenance.seed}/{self._tree.problem.id}")
        for child in children:
            self._noise[child] = -math.log(-math.log(source.uniform(1e-12, 1 - 1e-12)))
        num_considered = min(self._settings.gumbel_candidates, len(children))
        self._schedule = considered_visits(num_considered, max(self._settings.num_iterations - 1, 1))

    def _lag(self, parent: int, child: int) -> float:
        children = candidates(self._tree, parent)
        improved = {each: self._logit(each) + self._weighted(parent, each) for each in children}
        highest = max(improved.values())
        total = math.fsum(math.exp(value - highest) for value in improved.values())
        share = math.exp(improved.get(child, highest) - highest) / total
        visits = {each: self._tree.nodes[each].visits + self._traffic.count(each) for each in children}
        return share - visits.get(child, 0) / (1 + sum(visits.values()))

    def _logit(self, child: int) -> float:
        return math.log(max(self._tree.nodes[child].prior, 1e-12))

    def _weighted(self, parent: int, child: int) -> float:
        """The child's value, its parent's where it has none, weighted by how much is known."""
        node = self._tree.nodes[child]
        most = max((self._tree.nodes[each].visits for each in candidates(self._tree, parent)), default=0)
        waiting = self._traffic.count(child)
        value = discounted(node, waiting, self._settings) if node.visits else self._tree.nodes[parent].value
        return (_VISIT_OFFSET + most) * self._settings.gumbel_scale * value


_FAR = 1e6


def considered_visits(num_considered: int, budget: int) -> list[int]:
    """How many visits a root child must have to be taken, for each of `budget` selections: Sequential Halving."""
    if num_considered <= 1:
        return list(range(budget))
    num_phases = math.ceil(math.log2(num_considered))
    visits = [0] * num_considered
    sequence: list[int] = []
    while len(sequence) < budget:
        rounds = max(1, budget // (num_phases * num_considered))
        for _ in range(rounds):
            sequence += visits[:num_considered]
            visits[:num_considered] = [count + 1 for count in visits[:num_considered]]
        num_considered = max(2, num_considered // 2)
    return sequence[:budget]
