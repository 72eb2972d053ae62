"""Walks over a tree of ten nodes worked out by hand, and what holds of walks over any tree."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sums_task import grown, random_tree, stop, ten_nodes

from retrograde.core.linearize import linearize, ranked_correct, walk, wrong_by_answer
from retrograde.core.problem import Grade, Verdict
from retrograde.core.settings import LinearizeSettings
from retrograde.core.solution import Move, MoveKind, SearchTrace
from retrograde.core.tree import SearchTree

SEEDS = st.integers(0, 10_000)


def moves(text: str) -> tuple[Move, ...]:
    """`s1 s2 b0` spelled out."""
    kinds = {"s": MoveKind.STEP, "b": MoveKind.BACKTRACK}
    return tuple(Move(kinds[word[0]], int(word[1:])) for word in text.split())


def only_wrong(tree: SearchTree, *wrong: int) -> SearchTree:
    """`tree` whose other wrong terminals have no answer, so that the choice among them is fixed."""
    for node in tree.terminals():
        if node not in wrong and not tree.nodes[node].is_correct:
            tree.nodes[node].grade = Grade(Verdict.UNPARSABLE)
    return tree


def one_walk(tree: SearchTree, seed: int = 0, **settings: object) -> SearchTrace:
    settings = {"direct": False, **settings}
    found = linearize(tree, LinearizeSettings.model_validate(settings), random.Random(seed), "key")
    assert not found.rejected
    return found.traces[0]


def test_direct_walk_is_the_path_to_the_right_terminal() -> None:
    """K = 0 tells the steps to n* and nothing else."""
    found = linearize(ten_nodes(), LinearizeSettings(num_wrong=()), random.Random(0), "key")
    assert found.traces == [SearchTrace("key", moves("s1 s4 s5"), (5,))]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (3, "s1 s2 s3 b1 s4 s5"),  # parts from n* at node 1
        (7, "s6 s7 b0 s1 s4 s5"),  # parts from n* at the root
        (9, "s6 s8 s9 b0 s1 s4 s5"),
    ],
)
def test_one_wrong_turn_returns_to_the_deepest_common_ancestor(wrong: int, expected: str) -> None:
    """K = 1 tells the wrong path, returns to where n*'s parts from it, and goes on from there."""
    assert one_walk(only_wrong(ten_nodes(), wrong), num_wrong=(1,)) == SearchTrace("key", moves(expected), (wrong, 5))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ((3, 7), "s6 s7 b0 s1 s2 s3 b1 s4 s5"),
        ((3, 9), "s6 s8 s9 b0 s1 s2 s3 b1 s4 s5"),
    ],
)
def test_two_wrong_turns_are_told_depth_first(wrong: tuple[int, int], expected: str, seed: int) -> None:
    """However they are drawn, the branch that shares more with n* comes later, so no shared step is told twice."""
    assert one_walk(only_wrong(ten_nodes(), *wrong), seed, num_wrong=(2,)).moves == moves(expected)


def test_wrong_turns_of_one_branch_share_its_steps() -> None:
    """Between two wrong terminals of one branch the walk returns inside that branch; both orders come up."""
    walks = {one_walk(only_wrong(ten_nodes(), 7, 9), seed, num_wrong=(2,)).moves for seed in range(8)}
    assert walks == {moves("s6 s7 b6 s8 s9 b0 s1 s4 s5"), moves("s6 s8 s9 b6 s7 b0 s1 s4 s5")}


def test_merge_at_root_restarts_and_tells_shared_steps_again() -> None:
    """With merge_at: root each return leads to the beginning and the next path is told in full."""
    trace = one_walk(only_wrong(ten_nodes(), 3), num_wrong=(1,), merge_at="root")
    assert trace.moves == moves("s1 s2 s3 b0 s1 s4 s5")


def test_backtrack_from_any_leaves_a_wrong_branch_at_any_of_its_own_steps() -> None:
    """With backtrack_from: any the branch is left at its first or its last own step; only told terminals are listed."""
    tree = only_wrong(ten_nodes(), 3)
    walks = {one_walk(tree, seed, num_wrong=(1,), backtrack_from="any") for seed in range(12)}
    assert walks == {
        SearchTrace("key", moves("s1 s2 b1 s4 s5"), (5,)),
        SearchTrace("key", moves("s1 s2 s3 b1 s4 s5"), (3, 5)),
    }


def test_walk_over_one_path_has_no_returns() -> None:
    """A single path is told step by step."""
    assert walk(ten_nodes(), [[0, 6, 8, 9]]) == moves("s6 s8 s9")


def test_tree_without_right_terminal_is_rejected_once() -> None:
    """A tree that never solved its problem says so, once, whatever was wanted of it."""
    tree = grown([0], [f"{stop(7)}\n"])
    assert linearize(tree, LinearizeSettings(), random.Random(0)) == ([], {"no_correct": 1})


def test_tree_whose_right_terminals_fail_self_evaluation_is_rejected() -> None:
    """A right terminal that the policy does not agree on is not taught."""
    found = linearize(ten_nodes(), LinearizeSettings(), random.Random(0), accepted={3})
    assert found == ([], {"not_self_consistent": 1})


def test_self_evaluation_chooses_among_right_terminals() -> None:
    """The best terminal that passed is told, even if a better one did not pass."""
    tree = grown([0, 0, 2], [f"{stop(10)}\n", "+4 = 4\n", f"{stop(10)}\n"])
    assert ranked_correct(tree) == [1, 3]
    found = linearize(tree, LinearizeSettings(num_wrong=()), random.Random(0), accepted={3})
    assert [trace.terminals for trace in found.traces] == [(3,)]


def test_too_few_wrong_answers_leave_out_the_walk() -> None:
    """A walk with more wrong turns than there are wrong answers is counted, not shrunk."""
    found = linearize(only_wrong(ten_nodes(), 3), LinearizeSettings(num_wrong=(1, 2, 2)), random.Random(0))
    assert [len(trace.terminals) for trace in found.traces] == [1, 2]
    assert found.rejected == {"too_few_wrong": 2}


def test_equal_walks_are_made_once() -> None:
    """A second walk with k = 1 where only one exists is counted as having no other."""
    found = linearize(only_wrong(ten_nodes(), 3), LinearizeSettings(num_wrong=(1, 1)), random.Random(0))
    assert len(found.traces) == 2
    assert found.rejected == {"no_other_walk": 1}


def test_wrong_terminals_of_one_answer_count_as_one() -> None:
    """Two branches that end in 7 are one wrong answer; no answer, and the right one, are none."""
    tree = grown([0, 0, 2, 0, 0], [f"{stop(7)}\n", "+4 = 4\n", f"{stop(7)}\n", "stop\n", f"{stop(10)}\n"])
    tree.nodes[3].grade = Grade(Verdict.UNPARSABLE, answer=" 7 ")
    assert wrong_by_answer(tree, 5) == {"7": [1, 3]}


@pytest.mark.parametrize("verdict", [Verdict.TIMEOUT, Verdict.ERROR])
def test_terminals_without_verdict_are_never_wrong_turns(verdict: Verdict) -> None:
    """A terminal the judge could not judge is not told as wrong."""
    tree = only_wrong(ten_nodes(), 3)
    tree.nodes[3].grade = Grade(verdict, answer="9")
    assert wrong_by_answer(tree, 5) == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 3, 5]),  # no statistics: fewer steps, then age
        ({4: {"visits": 1, "value": 0.9}}, [5, 1, 3]),  # the path of highest mean Q first
        ({2: {"visits": 2, "value": 0.3}, 4: {"visits": 1, "value": 0.9}, 0: {"value": 0.5}}, [5, 1, 3]),
        ({0: {"value": 0.4}, 2: {"visits": 1, "value": 0.85}, 4: {"visits": 1, "value": 0.9}}, [5, 3, 1]),
        (
            {
                2: {"visits": 1, "value": 0.85},
                3: {"visits": 1, "value": 1.0},  # the terminal's own value is every right terminal's: it says nothing
                4: {"visits": 1, "value": 0.9},
            },
            [5, 3, 1],
        ),
        ({5: {"logprob": -0.5}}, [1, 5, 3]),  # equal in steps: the likelier one
    ],
)
def test_best_right_terminal_is_chosen_by_value_then_shortness_then_likelihood(
    changes: dict[int, dict[str, float]], expected: list[int]
) -> None:
    """Right terminals are ranked by their path's mean Q, then fewer steps, then mean log-probability, then age."""
    tree = grown([0, 0, 2, 0, 4], [f"{stop(10)}\n", "+1 = 1\n", f"{stop(10)}\n", "+2 = 2\n", f"{stop(10)}\n"])
    for node, values in changes.items():
        for name, value in values.items():
            setattr(tree.nodes[node], name, value)
    assert ranked_correct(tree) == expected


def test_unvisited_steps_say_nothing_of_a_paths_value() -> None:
    """A rollout's steps have no Q: the path through them is ranked by the visited ones alone."""
    tree = grown([0, 1, 2, 0, 4], ["+1 = 1\n", "+2 = 3\n", f"{stop(10)}\n", "+2 = 2\n", f"{stop(10)}\n"])
    for node, value in ((1, 0.6), (4, 0.5)):
        tree.nodes[node].visits, tree.nodes[node].value = 1, value
    assert ranked_correct(tree) == [3, 5]


def replayed(tree: SearchTree, trace: SearchTrace) -> list[int]:
    """Nodes told, in order; fails where a move is no step to a child or return to an ancestor."""
    here, told = 0, []
    for move in trace.moves:
        if move.kind is MoveKind.STEP:
            assert tree.nodes[move.node].parent == here
            told.append(move.node)
        else:
            assert move.node in tree.path(here)[:-1]
        here = move.node
    return told


@given(SEEDS, st.sampled_from(["terminal", "any"]))
def test_every_walk_replays_and_tells_no_node_twice(seed: int, backtrack_from: str) -> None:
    """Whatever the tree, walks go down to children and back to ancestors, tell each node once, and end at n*."""
    tree = random_tree(seed)
    settings = LinearizeSettings.model_validate({"num_wrong": (1, 2, 3), "backtrack_from": backtrack_from})
    for trace in linearize(tree, settings, random.Random(seed)).traces:
        told = replayed(tree, trace)
        assert len(set(told)) == len(told)
        assert told[-1] == trace.terminals[-1]
        assert tree.nodes[told[-1]].is_correct
        assert [node for node in told if tree.nodes[node].is_terminal] == list(trace.terminals)


@given(SEEDS)
def test_returns_lead_to_the_deepest_common_ancestor(seed: int) -> None:
    """The node told after a return is a child of the place returned to, and lies off the branch just left."""
    tree = random_tree(seed)
    for trace in linearize(tree, LinearizeSettings(), random.Random(seed)).traces:
        for before, back, after in zip(trace.moves, trace.moves[1:], trace.moves[2:], strict=False):
            if back.kind is MoveKind.BACKTRACK:
                assert tree.nodes[after.node].parent == back.node
                assert after.node not in tree.path(before.node)


@given(SEEDS)
def test_wrong_answers_of_a_walk_differ(seed: int) -> None:
    """No wrong answer is told twice in one walk, and as many are told as were wanted."""
    tree = random_tree(seed)
    for trace in linearize(tree, LinearizeSettings(direct=False, num_wrong=(2,)), random.Random(seed)).traces:
        answers = [grade.answer for node in trace.terminals[:-1] if (grade := tree.nodes[node].grade)]
        assert len(set(answers)) == len(answers) == 2


@given(SEEDS)
def test_same_seed_gives_the_same_walks(seed: int) -> None:
    """Walks and rejections depend on the tree, the settings and the seed alone; no two walks are equal."""
    first, again = (linearize(random_tree(seed), LinearizeSettings(), random.Random(7)) for _ in range(2))
    assert first == again
    assert len(set(first.traces)) == len(first.traces)


@given(SEEDS)
def test_every_wanted_walk_is_made_or_counted(seed: int) -> None:
    """Walks made and walks left out add up to the walks wanted, or the tree is rejected as a whole."""
    found = linearize(random_tree(seed), LinearizeSettings(num_wrong=(1, 2, 4)), random.Random(seed))
    assert len(found.traces) + sum(found.rejected.values()) == 4 or found == ([], {"no_correct": 1})
