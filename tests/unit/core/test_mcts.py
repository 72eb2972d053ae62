"""The search as a state machine: what it asks, what it does with the answers, when it ends."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sums_task import PROBLEM, SUMS, Wanderer, answer, said, searched, stop

from retrograde.core.mcts import TreeSearch, budget
from retrograde.core.policy import Prompt, Sampling
from retrograde.core.problem import Grade, Verdict
from retrograde.core.search import Call, CallKind, Reply, SearchError, Spent
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import NodeOrigin, SearchTree

SMALL = SearchSettings(num_iterations=3, num_actions=2, num_rollouts=2, keep_rollouts=False)


def scripted(settings: SearchSettings, script: dict[tuple[CallKind, int], list[str]]) -> tuple[TreeSearch, list[Call]]:
    """A search answered from `script` by kind and node, and the calls it made."""
    search, calls = TreeSearch(SearchTree(PROBLEM), SUMS, settings), []
    while (call := search.next_call()) is not None:
        calls.append(call)
        search.feed(call, answer(search, call, script[call.kind, call.node]))
    return search, calls


def test_three_iterations_worked_out_by_hand() -> None:
    """Three iterations ask five calls, and leave the visits and values worked out by hand."""
    expand, evaluate = CallKind.EXPAND, CallKind.EVALUATE
    search, calls = scripted(
        SMALL,
        {
            (expand, 0): ["+4 = 4\n", f"{stop(7)}\n"],
            (evaluate, 0): [f"{stop(10)}\n", f"{stop(7)}\n"],
            (expand, 1): [f"{stop(10)}\n", f"{stop(4)}\n"],
            (evaluate, 1): [f"{stop(10)}\n", f"{stop(10)}\n"],
        },
    )
    # root: R = 1/2; node 1 (lowest index among equals): R = 1; then its child 3: the right terminal, without a call.
    assert [Call(0, expand, 0, 2), Call(1, evaluate, 0, 2), Call(2, expand, 1, 2), Call(3, evaluate, 1, 2)] == calls
    assert [(node.visits, round(node.value, 6)) for node in search.tree.nodes] == [
        (3, 0.833333),
        (2, 1.0),
        (0, 0.0),
        (1, 1.0),
        (0, 0.0),
    ]
    assert (3, 1, Spent(4, 4, 4, search.spent.generated_tokens)) == (
        search.tree.num_iterations,
        search.num_correct,
        search.spent,
    )


def test_children_are_evaluated_by_setting() -> None:
    """With evaluate: children each new child that is no terminal gets its rollouts, and all are backed up."""
    search, calls = scripted(
        SMALL.model_copy(update={"evaluate": "children", "num_iterations": 1, "num_actions": 3}),
        {
            (CallKind.EXPAND, 0): ["+4 = 4\n", f"{stop(10)}\n", "+5 = 5\n"],
            (CallKind.EVALUATE, 1): [f"{stop(10)}\n", f"{stop(7)}\n"],
            (CallKind.EVALUATE, 3): [f"{stop(7)}\n", f"{stop(7)}\n"],
        },
    )
    assert [(c.kind, c.node) for c in calls] == [(CallKind.EXPAND, 0), (CallKind.EVALUATE, 1), (CallKind.EVALUATE, 3)]
    assert [(node.visits, node.value) for node in search.tree.nodes] == [(3, 0.5), (1, 0.5), (1, 1.0), (1, 0.0)]


@pytest.mark.parametrize("evaluate", ["expanded", "children"])
def test_budget_shown_is_an_upper_bound_of_the_budget_spent(evaluate: str) -> None:
    """No search draws more samples than budget() says, and the iterations are exactly those set."""
    settings = SearchSettings(num_iterations=12, num_actions=3, num_rollouts=2, evaluate=evaluate)
    search, log = searched(settings)
    drawn = Counter({kind: sum(c.num_samples for c, _ in log if c.kind is kind) for kind in CallKind})
    tokens = search.spent.generated_tokens
    assert Spent(drawn[CallKind.EXPAND], drawn[CallKind.EVALUATE], len(log), tokens) == search.spent
    most = budget(settings)
    assert search.spent.num_proposals <= most.num_proposals
    assert search.spent.num_rollouts <= most.num_rollouts
    assert search.tree.num_iterations == 12


def test_budget_is_met_exactly_where_nothing_ends() -> None:
    """A tree that meets no terminal spends the whole budget, to the sample."""
    settings = SearchSettings(num_iterations=5, num_actions=3, num_rollouts=4, keep_rollouts=False)
    search = TreeSearch(SearchTree(PROBLEM), SUMS, settings)
    while (call := search.next_call()) is not None:
        count = range(call.num_samples)
        texts = [f"+{n} = {n}\n" if call.kind is CallKind.EXPAND else f"{stop(n)}\n" for n in count]
        search.feed(call, answer(search, call, texts))
    most = budget(settings)
    assert (search.spent.num_proposals, search.spent.num_rollouts, search.spent.num_calls) == (15, 20, 10)
    assert (most.num_proposals, most.num_rollouts, most.num_calls) == (15, 20, 10)


@given(st.integers(0, 10_000), st.sampled_from(["expanded", "children"]))
def test_same_replies_give_the_same_tree(seed: int, evaluate: str) -> None:
    """A search replayed from its log asks the same calls and ends in an equal tree."""
    settings = SearchSettings(num_iterations=6, num_actions=3, num_rollouts=2, evaluate=evaluate)
    search, log = searched(settings, seed)
    again = TreeSearch(SearchTree(PROBLEM), SUMS, settings)
    for call, reply in log:
        assert call == again.next_call()
        again.feed(call, reply)
    assert again.done
    assert search.tree == again.tree


@given(st.integers(0, 10_000))
def test_a_killed_search_goes_on_from_any_point_of_its_log(seed: int) -> None:
    """Replaying a prefix of the log and asking on gives the same tree as never having stopped."""
    settings = SearchSettings(num_iterations=6, num_actions=3, num_rollouts=2)
    search, log = searched(settings, seed)
    again, policy = TreeSearch(SearchTree(PROBLEM), SUMS, settings), Wanderer(seed)
    for logged, reply in log[: seed % (len(log) + 1)]:
        again.feed(logged, reply)
    while (call := again.next_call()) is not None:
        again.feed(call, policy(again, call))
    assert search.tree == again.tree


@given(st.integers(0, 10_000))
def test_visits_and_values_add_up(seed: int) -> None:
    """Every visited inner node has one visit of its own beside its children's, and a value between the rewards."""
    search, _ = searched(SearchSettings(num_iterations=10, num_actions=3, num_rollouts=2), seed)
    nodes = search.tree.nodes
    for node in nodes:
        below = sum(nodes[child].visits for child in node.children)
        assert node.is_terminal or node.visits in {0, below + 1}
        assert 0.0 <= node.value <= 1.0
    assert nodes[0].visits == 10


@given(st.integers(0, 10_000))
def test_siblings_differ_and_terminals_are_leaves(seed: int) -> None:
    """However rollouts and proposals mix, no node has two equal children, and no terminal has any."""
    search, _ = searched(SearchSettings(num_iterations=10, num_actions=3, num_rollouts=3), seed)
    for node in search.tree.nodes:
        steps = [search.tree.nodes[child].step for child in node.children]
        assert len(set(steps)) == len(steps)
        assert not (node.is_terminal and steps)


def test_rollouts_are_kept_as_terminals_but_not_selected() -> None:
    """Kept rollouts add terminals of origin ROLLOUT that have no visits."""
    search, _ = searched(SearchSettings(num_iterations=4, num_actions=2, num_rollouts=8))
    kept = [node for node in search.tree.nodes if node.origin is NodeOrigin.ROLLOUT]
    assert any(node.is_terminal for node in kept)
    assert {0} == {node.visits for node in kept}


def test_next_call_is_the_same_until_it_is_fed() -> None:
    """Asking twice without an answer asks the same, so a driver may try again."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL)
    assert search.next_call() == search.next_call() == Call(0, CallKind.EXPAND, 0, 2)


def test_call_says_what_the_policy_continues() -> None:
    """The prompt of a call begins with the steps to its node; an expansion stops after one step, a rollout does not."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL)
    first = Call(0, CallKind.EXPAND, 0, 2)
    search.feed(first, answer(search, first, ["+4 = 4\n", "+5 = 5\n"]))
    expand, rollout = Call(9, CallKind.EXPAND, 1, 2), Call(9, CallKind.EVALUATE, 1, 2)
    assert Prompt("Start at 0, reach 10.\n", begun="+4 = 4\n") == search.prompt(expand)
    assert Sampling(n=2, max_tokens=512, stop=("\n",), seed=3, logprobs=True) == search.sampling(expand, seed=3)
    assert Sampling(n=2, max_tokens=4096) == search.sampling(rollout)


def test_only_ending_steps_of_an_expansion_are_graded() -> None:
    """Of proposed steps the terminal ones are judged, as whole solutions; of rollouts all are."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL)
    completions = [said("+4 = 4\n"), said(""), said(stop(7))]
    assert {2: stop(7)} == search.to_grade(Call(0, CallKind.EXPAND, 0, 3), completions)
    assert {0, 1, 2} == search.to_grade(Call(0, CallKind.EVALUATE, 0, 3), completions).keys()


def test_an_answer_to_another_call_is_refused() -> None:
    """Feeding a call that is not in flight is an error that names it."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL)
    with pytest.raises(SearchError, match="call 7: not a call in flight"):
        search.feed(Call(7, CallKind.EXPAND, 0, 2), Reply([]))


def test_a_missing_grade_is_refused() -> None:
    """A terminal without its grade never enters the tree."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL)
    with pytest.raises(SearchError, match=r"grades for \[\], wanted for \[0\]"):
        search.feed(Call(0, CallKind.EXPAND, 0, 2), Reply([said(stop(7))]))
    assert len(search.tree.nodes) == 1


def test_search_stops_early_once_solved() -> None:
    """With stop_when_solved: 1 the iteration that finds a right terminal is the last."""
    search, _ = scripted(
        SMALL.model_copy(update={"stop_when_solved": 1}),
        {(CallKind.EXPAND, 0): [stop(10), "+4 = 4\n"], (CallKind.EVALUATE, 0): [stop(7), stop(7)]},
    )
    assert (search.tree.num_iterations, search.num_correct) == (1, 1)


def test_terminal_without_verdict_is_passed_over() -> None:
    """A terminal on which the judge timed out is never entered: its sibling is, and no reward is made up."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL.model_copy(update={"num_rollouts": 0}))
    first = search.next_call()
    assert first is not None
    search.feed(first, Reply([said(stop(7)), said("+4 = 4\n")], {0: Grade(Verdict.TIMEOUT)}))
    call = search.next_call()
    assert call is not None
    assert (call.node, search.tree.num_iterations) == (2, 1)
    assert [node.visits for node in search.tree.nodes] == [0, 0, 0]


def test_search_without_any_verdict_ends() -> None:
    """If every terminal of an exhausted tree is without verdict the search ends instead of asking for ever."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL.model_copy(update={"num_rollouts": 0}))
    first = search.next_call()
    assert first is not None
    search.feed(first, Reply([said(stop(7)), said(stop(8))], {0: Grade(Verdict.TIMEOUT), 1: Grade(Verdict.ERROR)}))
    assert search.done
    assert search.tree.num_iterations == 2  # of three: the second found nothing left to try
    assert all(node.visits == 0 for node in search.tree.nodes)


def test_evaluation_without_verdict_backs_up_nothing() -> None:
    """An iteration whose rollouts all lack a verdict is spent, leaves the statistics alone, and goes on below."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, SMALL)
    first = search.next_call()
    assert first is not None
    search.feed(first, answer(search, first, ["+4 = 4\n", "+5 = 5\n"]))
    second = search.next_call()
    assert second is not None
    search.feed(second, Reply([said(stop(7)), said(stop(10))], {n: Grade(Verdict.TIMEOUT) for n in range(2)}))
    assert (search.tree.num_iterations, search.tree.nodes[0].visits) == (1, 0)
    assert Call(2, CallKind.EXPAND, 1, 2) == search.next_call()


def test_search_keeps_to_max_depth() -> None:
    """No node lies deeper than max_depth, whatever the policy says."""
    search, _ = searched(SearchSettings(num_iterations=20, num_actions=2, num_rollouts=3, max_depth=2))
    assert max(search.tree.depth(node) for node in range(len(search.tree.nodes))) == 2
