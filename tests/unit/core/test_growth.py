"""Expansion, evaluation and the backup, step by step."""

from __future__ import annotations

import pytest
from sums_task import PROBLEM, SUMS, said, stop

from retrograde.core.growth import backpropagate, evaluate, expand, keep_rollout, reward
from retrograde.core.problem import Grade, Verdict
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import Node, NodeOrigin, SearchTree

SETTINGS = SearchSettings(num_actions=2, num_rollouts=2)
RIGHT, WRONG = Grade(Verdict.CORRECT, answer="10"), Grade(Verdict.INCORRECT, answer="7")


def statistics(tree: SearchTree) -> list[tuple[int, float]]:
    return [(node.visits, round(node.value, 6)) for node in tree.nodes]


def test_backup_is_the_papers_formula() -> None:
    """Four backups on root - a - a1 give the visits and values worked out by hand."""
    tree = SearchTree(PROBLEM)
    a = tree.add(Node(0, NodeOrigin.EXPANSION, "a"))
    a1 = tree.add(Node(a, NodeOrigin.EXPANSION, "a1"))
    seen = []
    for node, own in [(0, 0.25), (a, 0.5), (a1, 1.0), (a1, 1.0)]:
        tree.nodes[node].reward = own
        backpropagate(tree, node)
        seen.append(statistics(tree))
    assert seen == [
        [(1, 0.25), (0, 0.0), (0, 0.0)],
        [(2, 0.375), (1, 0.5), (0, 0.0)],  # (.5 * 1 + .25) / (1 + 1)
        [(3, 0.583333), (2, 0.75), (1, 1.0)],  # (.75 * 2 + .25) / (2 + 1)
        [(4, 0.6875), (3, 0.833333), (2, 1.0)],  # (.8333 * 3 + .25) / (3 + 1); a terminal stays at R
    ]


def test_value_is_the_mean_of_all_rewards_below() -> None:
    """Over any order of backups the root's value is the mean of the rewards that came in."""
    tree = SearchTree(PROBLEM)
    tree.nodes[0].reward = 0.5
    backpropagate(tree, 0)
    rewards = [0.5]
    for own in (1.0, 0.0, 0.25):
        node = tree.add(Node(0, NodeOrigin.EXPANSION, str(own), reward=own))
        backpropagate(tree, node)
        rewards.append(own)
    assert sum(rewards) / 4 == pytest.approx(tree.nodes[0].value)


def test_node_without_own_reward_is_the_mean_of_its_children() -> None:
    """A node never evaluated itself brings neither R nor the 1 to its value."""
    tree = SearchTree(PROBLEM)
    child = tree.add(Node(0, NodeOrigin.EXPANSION, "a", reward=0.75))
    backpropagate(tree, child)
    assert statistics(tree) == [(1, 0.75), (1, 0.75)]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.CORRECT, 1.0),
        (Verdict.INCORRECT, -0.5),
        (Verdict.UNPARSABLE, -0.5),
        (Verdict.TIMEOUT, None),
        (Verdict.ERROR, None),
    ],
)
def test_every_verdict_has_its_reward(verdict: Verdict, expected: float | None) -> None:
    """A timeout or an error is no reward, never a low one."""
    assert expected == reward(Grade(verdict), -0.5)


def test_expand_adds_children_with_priors_and_grades() -> None:
    """Each distinct step becomes a child with its log-probability and prior; a graded one is a terminal."""
    tree = SearchTree(PROBLEM)
    added = expand(tree, 0, [said("+4 = 4\n", -2.0), said(stop(7), -2.0)], {1: WRONG}, SETTINGS)
    assert added == [1, 2]
    assert [(n.prior, n.grade, n.reward) for n in tree.nodes[1:]] == [(0.5, None, None), (0.5, WRONG, 0.0)]
    assert tree.nodes[0].expanded


def test_equal_siblings_make_one_child() -> None:
    """A repeated or empty proposal adds no node, and the prior is shared among the distinct ones."""
    tree = SearchTree(PROBLEM)
    added = expand(tree, 0, [said("a\n", -1.0), said("b\n", -1.0), said("a\n", -1.0), said("")], {}, SETTINGS)
    assert [tree.nodes[node].step for node in added] == ["a\n", "b\n"]
    assert [tree.nodes[node].prior for node in added] == [0.5, 0.5]


def test_expansion_takes_over_a_rollouts_node() -> None:
    """A proposal equal to a kept rollout's step joins selection in that node, which keeps its index and children."""
    tree = SearchTree(PROBLEM)
    end = keep_rollout(tree, 0, ["a\n", stop(7)], WRONG, SUMS, SETTINGS)
    assert expand(tree, 0, [said("a\n", -1.5)], {}, SETTINGS) == [1]
    first = tree.nodes[1]
    assert (NodeOrigin.EXPANSION, -1.5, [end]) == (first.origin, first.logprob, first.children)


def test_step_at_max_depth_is_a_terminal_without_answer() -> None:
    """A child that may not be continued and ends nothing is graded unparsable."""
    tree = SearchTree(PROBLEM)
    expand(tree, 0, [said("a\n")], {}, SETTINGS.model_copy(update={"max_depth": 1}))
    assert Grade(Verdict.UNPARSABLE, "no answer within 1 steps") == tree.nodes[1].grade


def test_evaluation_is_the_mean_reward_of_its_rollouts() -> None:
    """One right and one wrong rollout are worth one half."""
    tree = SearchTree(PROBLEM)
    assert evaluate(tree, 0, [said(stop(10)), said(stop(7))], {0: RIGHT, 1: WRONG}, SUMS, SETTINGS) == 0.5


def test_rollouts_without_verdict_are_left_out_of_the_mean() -> None:
    """A right rollout beside one that timed out is worth one, not one half."""
    tree = SearchTree(PROBLEM)
    grades = {0: RIGHT, 1: Grade(Verdict.TIMEOUT)}
    assert evaluate(tree, 0, [said(stop(10)), said(stop(7))], grades, SUMS, SETTINGS) == 1.0


def test_evaluation_without_any_verdict_is_no_reward() -> None:
    """If the judge failed on all rollouts the node has no reward of its own."""
    tree = SearchTree(PROBLEM)
    assert evaluate(tree, 0, [said(stop(10))], {0: Grade(Verdict.ERROR)}, SUMS, SETTINGS) is None


def test_rollout_beyond_max_depth_counts_as_wrong() -> None:
    """A rollout that needs more steps than a solution may have earns nothing and is not kept."""
    tree = SearchTree(PROBLEM)
    settings = SETTINGS.model_copy(update={"max_depth": 1})
    assert evaluate(tree, 0, [said("a\n" + stop(10))], {0: RIGHT}, SUMS, settings) == 0.0
    assert len(tree.nodes) == 1


def test_kept_rollouts_share_their_common_steps() -> None:
    """Rollouts become chains that part where their steps do, ending in graded terminals off the selection."""
    tree = SearchTree(PROBLEM)
    texts = ["a\n" + stop(10), "a\nb\n" + stop(7), "a\n" + stop(10)]
    evaluate(tree, 0, [said(text) for text in texts], {0: RIGHT, 1: WRONG, 2: RIGHT}, SUMS, SETTINGS)
    assert [(0, "a\n"), (1, stop(10)), (1, "b\n"), (3, stop(7))] == [(n.parent, n.step) for n in tree.nodes[1:]]
    assert {NodeOrigin.ROLLOUT} == {node.origin for node in tree.nodes[1:]}
    assert list(tree.terminals()) == [2, 4]


@pytest.mark.parametrize(
    ("steps", "grade"),
    [
        (["a\n"], WRONG),
        ([stop(7), "a\n", stop(10)], RIGHT),
        ([stop(7)], Grade(Verdict.UNPARSABLE)),
        ([stop(7)], Grade(Verdict.TIMEOUT)),
        ([], WRONG),
    ],
    ids=["no end", "runs on after its end", "no answer", "no verdict", "empty"],
)
def test_rollouts_that_tell_no_whole_solution_are_not_kept(steps: list[str], grade: Grade) -> None:
    """Only a rollout with a verdict on an answer, ending in its one terminal step, is kept."""
    tree = SearchTree(PROBLEM)
    assert keep_rollout(tree, 0, steps, grade, SUMS, SETTINGS) is None
    assert len(tree.nodes) == 1
