"""The trees of a run as they are stored, each read once: what they cost, and how it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from retrograde.analysis.tables import duration
from retrograde.core.problem import Cost
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import tree_pb2, verdict_pb2
from retrograde.wire.convert import cost_from_proto


class GrownTrees:
    """Trees below `prefix` (which ends in "/"), as of the last `read`."""

    def __init__(self, store: ObjectStore, prefix: str, now: Callable[[], float] = time.monotonic) -> None:
        self.ids: set[str] = set()
        self.cost = Cost()
        self._store = store
        self._prefix = prefix
        self._now = now
        self._num_solved = self._num_iterations = 0
        self._began: tuple[float, int, int] | None = None  # when `read` was first done, with its trees and tokens

    def read(self) -> None:
        """Takes in the trees stored since."""
        for key in self._store.list(self._prefix):
            problem_id = key.removeprefix(self._prefix).removesuffix(".pb")
            if key.endswith(".pb") and problem_id not in self.ids:
                self._take(tree_pb2.SearchTree.FromString(self._store.get(key)))
                self.ids.add(problem_id)
        self._began = self._began or (self._now(), len(self.ids), self.cost.generated_tokens)

    def figures(self, num_wanted: int) -> str:
        """Solved, iterations; and since the first `read` tokens per second and the time left for `num_wanted` trees."""
        told = f"{self._num_solved} solved, {self._num_iterations:,} iterations"
        began_at, num_trees, num_tokens = self._began or (self._now(), 0, 0)
        seconds, num_new = self._now() - began_at, len(self.ids) - num_trees
        if not num_new or not seconds:
            return told
        rate = (self.cost.generated_tokens - num_tokens) / seconds
        left = (num_wanted - len(self.ids)) * seconds / num_new
        return f"{told}, {rate:,.0f} tokens/s" + (f", {duration(left)} left" if left else "")

    def _take(self, tree: tree_pb2.SearchTree) -> None:
        self._num_solved += any(node.grade.verdict == verdict_pb2.VERDICT_CORRECT for node in tree.nodes)
        self._num_iterations += tree.num_iterations
        self.cost.add(cost_from_proto(tree.provenance.cost))
