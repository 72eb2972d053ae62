"""PUCT and priors against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from retrograde.core.problem import Problem
from retrograde.core.selection import Traffic, candidates, priors, puct, scorer, select
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import Node, NodeOrigin, SearchTree


def counted() -> SearchTree:
    """Ten nodes with set statistics; 8 and 9 are kept rollouts."""
    tree = SearchTree(Problem("p", "t", "", ""))
    tree.nodes[0].visits = 9
    for parent, prior, visits, value in [
        (0, 0.5, 4, 0.25),
        (0, 0.3, 3, 0.5),
        (0, 0.2, 1, 1.0),
        (1, 0.6, 2, 0.5),
        (1, 0.4, 1, 0.0),
        (2, 0.7, 2, 0.75),
        (2, 0.3, 0, 0.0),
    ]:
        tree.add(Node(parent, NodeOrigin.EXPANSION, prior=prior, visits=visits, value=value))
    tree.add(Node(0, NodeOrigin.ROLLOUT, prior=9.0, value=9.0))
    tree.add(Node(2, NodeOrigin.ROLLOUT, prior=9.0, value=9.0))
    return tree


@pytest.mark.parametrize(("child", "expected"), [(1, 0.55), (2, 0.725), (3, 1.3)])
def test_score_is_value_plus_exploration(child: int, expected: float) -> None:
    """Q + c_puct * pi * sqrt(9) / (1 + N) gives the scores worked out by hand."""
    tree = counted()
    assert expected == pytest.approx(puct(tree.nodes[0], tree.nodes[child], 1.0))


def selected(tree: SearchTree, c_puct: float, closed: set[int]) -> int:
    """The leaf that PUCT selects with nothing in flight."""
    return select(tree, scorer(tree, SearchSettings(c_puct=c_puct), Traffic()), closed)


@pytest.mark.parametrize(
    ("c_puct", "closed", "leaf"),
    [
        (1.0, set(), 3),
        (1.0, {3}, 6),  # 2 by .725 over .55, then 6 by .75 + .7 * sqrt(3) / 3 over .3 * sqrt(3)
        (8.0, {3}, 4),  # 1 by 2.65 over 2.3, then 4 by 3.7 over 3.2
        (0.0, {3, 6}, 7),  # exploitation alone: 2 by .5, whose only open child is 7
    ],
)
def test_select_descends_by_the_best_child(c_puct: float, closed: set[int], leaf: int) -> None:
    """Selection follows the highest score at each node, down to a node with nothing to enter."""
    assert leaf == selected(counted(), c_puct, closed)


def test_kept_rollouts_are_never_selected() -> None:
    """Only children proposed by an expansion are candidates, however good a rollout looks."""
    assert candidates(counted(), 0) == [1, 2, 3]


def test_ties_go_to_the_lowest_index() -> None:
    """Children of equal score are tried in the order they were added."""
    tree = SearchTree(Problem("p", "t", "", ""))
    for _ in range(3):
        tree.add(Node(0, NodeOrigin.EXPANSION, prior=1 / 3))
    assert selected(tree, 1.0, set()) == 1


def test_prior_is_a_softmax_of_mean_log_probability() -> None:
    """Length-normalised priors of -2 over 2 tokens and -6 over 3 are softmax(-1, -2)."""
    expected = [math.exp(-1) / (math.exp(-1) + math.exp(-2)), math.exp(-2) / (math.exp(-1) + math.exp(-2))]
    assert expected == pytest.approx(priors([-2.0, -6.0], [2, 3], length_normalised=True))


def test_prior_of_summed_log_probability() -> None:
    """Without normalisation e to the difference of the sums is the ratio of the priors."""
    first, second = priors([-2.0, -6.0], [2, 3], length_normalised=False)
    assert math.exp(4) == pytest.approx(first / second)


def test_priors_of_impossible_steps_stay_finite() -> None:
    """Log-probabilities far below what exp can hold still share out one."""
    assert priors([-1e6, -1e6], [1, 1], length_normalised=False) == [0.5, 0.5]


def test_no_siblings_no_priors() -> None:
    """An expansion that proposed nothing has no priors."""
    assert priors([], [], length_normalised=True) == []
