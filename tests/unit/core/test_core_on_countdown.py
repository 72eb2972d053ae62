"""The core on a real task: countdown searched by a policy that plays legal moves at random."""

from __future__ import annotations

import random
from functools import cache

import pytest
from sums_task import said

from retrograde.core.invariants import check_solution
from retrograde.core.linearize import linearize
from retrograde.core.mcts import TreeSearch
from retrograde.core.rewrite import count_backtracks, rewrite_by_template
from retrograde.core.search import Call, CallKind, Reply
from retrograde.core.settings import LinearizeSettings, RewriteSettings, SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.tasks.countdown import after, moves, replay, step_text
from retrograde.tasks.task import load_task

TASK = load_task("countdown")
SETTINGS = SearchSettings(num_iterations=8, num_actions=4, num_rollouts=4)


def play(search: TreeSearch, call: Call, rng: random.Random) -> str:
    """One legal step from the call's node, or legal steps to the end."""
    problem, told = search.tree.problem, search.tree.steps(call.node)
    begun = len(told)
    while len(told) == begun or (call.kind is CallKind.EVALUATE and not TASK.is_terminal(problem, told)):
        walk = replay(problem, "".join(told))
        state = walk.state or ()
        a, operator, b, result = rng.choice(list(moves(state)))
        told.append(step_text(a, operator, b, result, after(state, a, b, result) or (), walk.target))
    return "".join(told[begun:])


@cache
def trees() -> tuple[SearchTree, ...]:
    """Twenty searched problems of three and four numbers."""
    rng, found = random.Random(0), []
    for problem in TASK.problems({"num_numbers": [3, 4], "count": 20}, "search", 1):
        search = TreeSearch(SearchTree(problem), TASK, SETTINGS)
        while (call := search.next_call()) is not None:
            completions = [said(play(search, call, rng)) for _ in range(call.num_samples)]
            wanted = search.to_grade(call, completions)
            search.feed(call, Reply(completions, {i: TASK.grade(problem, text) for i, text in wanted.items()}))
        found.append(search.tree)
    return tuple(found)


@pytest.mark.parametrize(
    "changes",
    [{}, {"merge_at": "root"}, {"backtrack_from": "any"}, {"num_wrong": (3,)}],
    ids=["paper", "merge at root", "backtrack from any", "three wrong turns"],
)
def test_countdown_solutions_are_sound(changes: dict[str, object]) -> None:
    """Template solutions of countdown trees break no invariant, and the task finds each of their returns real."""
    told = 0
    for tree in trees():
        for trace in linearize(tree, LinearizeSettings.model_validate(changes), random.Random(3)).traces:
            solution = rewrite_by_template(tree, trace, TASK, RewriteSettings(reassurance_value=0.5))
            assert check_solution(solution, tree, TASK) == []
            assert count_backtracks(solution.completion, TASK.phrases) == trace.num_backtracks
            told += trace.num_backtracks
    assert told > 10


def test_one_stored_tree_gives_its_variants_without_a_model() -> None:
    """Other k, merge points and reflection come from the same trees: the walks differ, the trees do not change."""
    before = [len(tree.nodes) for tree in trees()]
    solved = next(tree for tree in trees() if linearize(tree, LinearizeSettings(), random.Random(0)).traces)
    completions = set()
    for merge_at in ("deepest_common_ancestor", "root"):
        wanted = LinearizeSettings.model_validate({"merge_at": merge_at, "direct": False, "num_wrong": (2,)})
        (trace,) = linearize(solved, wanted, random.Random(0)).traces
        for reflection in (True, False):
            settings = RewriteSettings(reflection=reflection)
            completions.add(rewrite_by_template(solved, trace, TASK, settings).completion)
    assert len(completions) >= 3
    assert [len(tree.nodes) for tree in trees()] == before
