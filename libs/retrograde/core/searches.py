"""The search that the settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrograde.core.baselines import Beam, BestFirst, BestOfN
from retrograde.core.mcts import TreeSearch
from retrograde.core.search import Search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task

_SEARCHES: dict[str, type[Search]] = {
    "mcts": TreeSearch,
    "best_of_n": BestOfN,
    "beam": Beam,
    "best_first": BestFirst,
}


def make_search(tree: SearchTree, task: Task, settings: SearchSettings) -> Search:
    """A search of `tree` by `settings.algorithm`."""
    return _SEARCHES[settings.algorithm](tree, task, settings)
