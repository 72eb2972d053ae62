"""Best-of-N, beam and best-first, and Gumbel's schedule: what each asks, in what order."""

from __future__ import annotations

import pytest
from sums_task import PROBLEM, SUMS, Wanderer, answer, stop

from retrograde.core.gumbel import considered_visits
from retrograde.core.mcts import TreeSearch
from retrograde.core.search import CallKind, Search
from retrograde.core.searches import make_search
from retrograde.core.selection import Traffic, scorer
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, Node, NodeOrigin, SearchTree

EXPAND, EVALUATE = CallKind.EXPAND, CallKind.EVALUATE


def asked(
    settings: SearchSettings, script: dict[tuple[CallKind, int], list[str]]
) -> tuple[Search, list[tuple[str, int]]]:
    """A search answered from `script`, and (kind, node) of its calls in order."""
    search, calls = make_search(SearchTree(PROBLEM), SUMS, settings), []
    while (call := search.next_call()) is not None:
        calls.append((call.kind.value, call.node))
        search.feed(call, answer(search, call, script[call.kind, call.node]))
    return search, calls


def test_best_of_n_asks_the_root_alone() -> None:
    """Three calls of two samples; the root's value is the share of right ones."""
    settings = SearchSettings(algorithm="best_of_n", num_iterations=3, num_rollouts=2)
    search, calls = asked(settings, {(EVALUATE, ROOT): [f"{stop(10)}\n", f"{stop(7)}\n"]})
    assert calls == [("evaluate", 0)] * 3
    assert (search.tree.nodes[ROOT].visits, search.tree.nodes[ROOT].value) == (3, 0.5)


def test_best_first_expands_the_best_open_node() -> None:
    """The second child's rollouts are right, so it is expanded before the first."""
    settings = SearchSettings(algorithm="best_first", num_iterations=2, num_actions=2, num_rollouts=1)
    script = {
        (EXPAND, 0): ["+1 = 1\n", "+4 = 4\n"],
        (EVALUATE, 1): [f"{stop(7)}\n"],
        (EVALUATE, 2): [f"{stop(10)}\n"],
        (EXPAND, 2): [f"{stop(10)}\n", f"{stop(4)}\n"],
    }
    _, calls = asked(settings, script)
    assert calls == [("expand", 0), ("evaluate", 1), ("evaluate", 2), ("expand", 2)]


def test_beam_keeps_the_best_of_a_level() -> None:
    """Of three children the beam of one goes on with the one whose rollouts are right."""
    settings = SearchSettings(algorithm="beam", beam_width=1, num_iterations=2, num_actions=3, num_rollouts=1)
    script = {
        (EXPAND, 0): ["+1 = 1\n", "+2 = 2\n", "+4 = 4\n"],
        (EVALUATE, 1): [f"{stop(7)}\n"],
        (EVALUATE, 2): [f"{stop(10)}\n"],
        (EVALUATE, 3): [f"{stop(8)}\n"],
        (EXPAND, 2): [f"{stop(10)}\n", f"{stop(4)}\n", f"{stop(5)}\n"],
    }
    _, calls = asked(settings, script)
    assert calls == [("expand", 0), ("evaluate", 1), ("evaluate", 2), ("evaluate", 3), ("expand", 2)]


@pytest.mark.parametrize("algorithm", ["beam", "best_first"])
def test_without_rollouts_steps_are_scored_by_their_likelihood(algorithm: str) -> None:
    """With num_rollouts 0 no rollout is asked."""
    settings = SearchSettings(algorithm=algorithm, num_iterations=4, num_actions=2, num_rollouts=0)
    search, policy = make_search(SearchTree(PROBLEM), SUMS, settings), Wanderer(1)
    while (call := search.next_call()) is not None:
        assert call.kind is EXPAND
        search.feed(call, policy(search, call))
    assert search.spent.num_rollouts == 0


def test_halving_shares_the_budget_out() -> None:
    """Of four candidates and eight selections: one each, then two more each for the better half."""
    assert considered_visits(4, 8) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert considered_visits(1, 3) == [0, 1, 2]
    assert len(considered_visits(16, 31)) == 31


def test_gumbel_visits_each_candidate_before_any_twice() -> None:
    """With four steps and five iterations the root's children are visited once each."""
    settings = SearchSettings(num_iterations=5, num_actions=4, num_rollouts=1, selection="gumbel", keep_rollouts=False)
    search = TreeSearch(SearchTree(PROBLEM), SUMS, settings)
    while (call := search.next_call()) is not None:
        begun = len(search.tree.steps(call.node))
        texts = [
            f"+{n} = {10 * begun + n + 20}\n" if call.kind is EXPAND else f"{stop(7)}\n"
            for n in range(call.num_samples)
        ]
        search.feed(call, answer(search, call, texts))
    assert [search.tree.nodes[child].visits for child in search.tree.nodes[ROOT].children] == [1, 1, 1, 1]


def test_uct_tries_every_child_first() -> None:
    """An unvisited child comes before all visited ones, the likelier before the other."""
    tree = SearchTree(PROBLEM)
    tree.nodes[ROOT].visits = 5
    for prior, visits in ((0.2, 5), (0.3, 0), (0.5, 0)):
        tree.add(Node(ROOT, NodeOrigin.EXPANSION, str(prior), prior=prior, visits=visits, value=1.0))
    score = scorer(tree, SearchSettings(selection="uct"), Traffic())
    assert sorted((1, 2, 3), key=lambda child: -score(ROOT, child)) == [3, 2, 1]


def test_virtual_loss_worked_out_by_hand() -> None:
    """Q = 0.5 of two visits with one in flight is 1/3, and its bonus is that of three visits."""
    tree = SearchTree(PROBLEM)
    tree.nodes[ROOT].visits = 3
    tree.add(Node(ROOT, NodeOrigin.EXPANSION, "a", prior=0.6, visits=2, value=0.5))
    traffic = Traffic()
    traffic.enter([ROOT, 1])
    score = scorer(tree, SearchSettings(), traffic)
    assert score(ROOT, 1) == pytest.approx(1 / 3 + 0.6 * 2 / 4)
    visits_only = scorer(tree, SearchSettings(virtual_loss=0.0), traffic)
    assert visits_only(ROOT, 1) == pytest.approx(0.5 + 0.6 * 2 / 4)


def test_equal_proposals_are_counted() -> None:
    """Three proposals of two steps leave their counts, and with prior: count the shares."""
    settings = SearchSettings(num_iterations=1, num_actions=3, num_rollouts=0, prior="count")
    search, _ = asked(settings, {(EXPAND, 0): ["+1 = 1\n", "+1 = 1\n", "+2 = 2\n"]})
    children = [search.tree.nodes[child] for child in search.tree.nodes[ROOT].children]
    assert [(child.num_proposed, round(child.prior, 3)) for child in children] == [(2, 0.667), (1, 0.333)]


@pytest.mark.parametrize(("value", "expected"), [("judge", 0.75), ("both", 0.625)])
def test_a_node_is_worth_what_the_policy_says_of_it(value: str, expected: float) -> None:
    """Three yes of four are worth 3/4; with rollouts of which one of two is right, the mean of 3/4 and 1/2."""
    settings = SearchSettings(num_iterations=2, num_actions=1, num_rollouts=2, value=value, num_judgements=4)
    script = {
        (EXPAND, 0): ["+1 = 1\n"],
        (EVALUATE, 0): [f"{stop(7)}\n", f"{stop(7)}\n"],
        (EXPAND, 1): ["+2 = 3\n"],
        (EVALUATE, 1): [f"{stop(10)}\n", f"{stop(7)}\n"],
        (CallKind.JUDGE, 1): ["yes", "Yes, it is", "no", " yes\n"],
    }
    search, _ = asked(settings, script)
    assert search.tree.nodes[1].reward == expected
    assert search.spent.num_judgements == 4


def test_judging_what_is_not_judged_is_refused() -> None:
    """The error names the field, its value and the fix."""
    with pytest.raises(ValueError, match="value: 'judge' judges expanded nodes of mcts; set evaluate: expanded"):
        SearchSettings(value="judge", evaluate="children")
