"""Several calls in flight: what is started, what waits, and that timing never shows in the tree."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sums_task import PROBLEM, SUMS, Wanderer, answer, said, searched, stop

from retrograde.core.mcts import TreeSearch, budget
from retrograde.core.policy import Completion
from retrograde.core.search import Call, CallKind, Reply, Search
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, SearchTree

WIDE = SearchSettings(num_iterations=12, num_actions=3, num_rollouts=2, max_in_flight=4)
ALGORITHMS = ("mcts", "best_of_n", "beam", "best_first")


def fed_at_random(settings: SearchSettings, seed: int, order: int) -> tuple[Search, list[tuple[Call, Reply]]]:
    """A search whose replies come in an order drawn by `order`, and its log in that order."""
    search, policy, log = make_search(SearchTree(PROBLEM), SUMS, settings), Wanderer(seed), []
    rng = random.Random(order)
    while search.in_flight:
        call = rng.choice(list(search.in_flight.values()))
        log.append((call, policy(search, call)))
        search.feed(*log[-1])
    return search, log


def test_expansion_and_evaluation_of_a_leaf_are_asked_together() -> None:
    """At the root nothing else can be asked, so two of four calls are in flight."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, WIDE)
    assert [(call.kind, call.node) for call in search.in_flight.values()] == [
        (CallKind.EXPAND, ROOT),
        (CallKind.EVALUATE, ROOT),
    ]


def test_a_leaf_that_waits_is_not_selected_again() -> None:
    """With the root's children known, each iteration in flight has a leaf of its own."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, WIDE.model_copy(update={"num_rollouts": 0, "max_in_flight": 8}))
    first = search.next_call()
    assert first is not None
    search.feed(first, answer(search, first, ["+1 = 1\n", "+2 = 2\n", "+3 = 3\n"]))
    assert [call.node for call in search.in_flight.values()] == [1, 2, 3]


def test_a_terminal_does_not_stand_in_for_a_leaf_that_waits() -> None:
    """While the one open leaf is asked, no iteration is spent on terminals that are known."""
    settings = WIDE.model_copy(update={"num_rollouts": 0, "num_actions": 2})
    search = TreeSearch(SearchTree(PROBLEM), SUMS, settings)
    first = search.next_call()
    assert first is not None
    search.feed(first, answer(search, first, ["+1 = 1\n", f"{stop(9)}\n"]))
    assert [call.node for call in search.in_flight.values()] == [1]
    assert search.tree.num_iterations == 1


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(["expanded", "children"]), st.integers(1, 9))
def test_every_order_of_replies_keeps_the_books(seed: int, order: int, evaluate: str, width: int) -> None:
    """Whatever the order of replies: the iterations are those set, visits add up, and nothing is left in flight."""
    settings = WIDE.model_copy(update={"evaluate": evaluate, "max_in_flight": width})
    search, log = fed_at_random(settings, seed, order)
    assert isinstance(search, TreeSearch)
    assert (search.tree.num_iterations, search.done, dict(search.in_flight)) == (12, True, {})
    assert search.spent.num_calls == len(log) <= budget(settings).num_calls
    assert not any(search._traffic.through.values())
    for node in search.tree.nodes:
        below = sum(search.tree.nodes[child].visits for child in node.children)
        assert node.visits >= below


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(ALGORITHMS), st.integers(1, 9))
def test_a_log_makes_the_same_tree(seed: int, order: int, algorithm: str, width: int) -> None:
    """Fed with the logged replies in the logged order a new search asks the same calls and ends in an equal tree."""
    settings = WIDE.model_copy(update={"algorithm": algorithm, "max_in_flight": width})
    search, log = fed_at_random(settings, seed, order)
    again = make_search(SearchTree(PROBLEM), SUMS, settings)
    for call, reply in log:
        assert again.in_flight[call.index] == call
        again.feed(call, reply)
    assert (again.done, again.tree, again.spent) == (True, search.tree, search.spent)


@given(st.integers(0, 10_000), st.sampled_from(ALGORITHMS))
def test_what_is_in_flight_follows_from_what_was_fed(seed: int, algorithm: str) -> None:
    """A search cut off anywhere and fed its log has exactly the calls in flight that it had then."""
    settings = WIDE.model_copy(update={"algorithm": algorithm})
    search, log = fed_at_random(settings, seed, seed)
    cut = seed % (len(log) + 1)
    halves = [make_search(SearchTree(PROBLEM), SUMS, settings) for _ in range(2)]
    for half in halves:
        for call, reply in log[:cut]:
            half.feed(call, reply)
    assert dict(halves[0].in_flight) == dict(halves[1].in_flight)
    assert {call.index for call, _ in log[cut:]} >= halves[0].in_flight.keys()
    assert search.done


@given(st.integers(0, 10_000), st.integers(0, 400), st.integers(0, 12), st.sampled_from(ALGORITHMS), st.integers(1, 9))
def test_budgets_are_never_passed(seed: int, tokens: int, calls: int, algorithm: str, width: int) -> None:
    """Tokens and calls stay within their limits to the last one, whatever comes back and in whatever order."""
    settings = WIDE.model_copy(
        update={
            "algorithm": algorithm,
            "max_in_flight": width,
            "max_generated_tokens": tokens,
            "max_calls": calls,
            "max_step_tokens": 4,
            "max_rollout_tokens": 8,
        }
    )
    search = make_search(SearchTree(PROBLEM), SUMS, settings)
    rng = random.Random(seed)
    while search.in_flight:
        reserved = sum(call.num_samples * search.sampling(call).max_tokens for call in search.in_flight.values())
        assert not tokens or search.spent.generated_tokens + reserved <= tokens
        call = rng.choice(list(search.in_flight.values()))
        search.feed(call, hostile(search, call, rng))
    assert not tokens or search.spent.generated_tokens <= tokens
    assert not calls or search.spent.num_calls <= calls


def hostile(search: Search, call: Call, rng: random.Random) -> Reply:
    """Fewer completions than asked, empty, equal, endless or only terminal ones."""
    most = search.sampling(call).max_tokens
    texts = [
        rng.choice(["", "+1 = 1\n", "+1 = 1\n", "x", f"{stop(7)}\n", f"{stop(10)}\n"]) for _ in range(call.num_samples)
    ]
    completions = tuple(said(text, num_tokens=rng.randint(0, most)) for text in texts[: rng.randint(0, len(texts))])
    grades = {index: SUMS.grade(PROBLEM, text) for index, text in search.to_grade(call, completions).items()}
    return Reply(completions, grades)


def test_no_reply_at_all_ends_a_search() -> None:
    """A policy that never says anything is asked no more than the iterations allow."""
    search = TreeSearch(SearchTree(PROBLEM), SUMS, WIDE)
    empty: tuple[Completion, ...] = ()
    while search.in_flight:
        call = next(iter(search.in_flight.values()))
        search.feed(call, Reply(empty))
    assert search.spent.num_calls <= 2 * WIDE.num_iterations


def test_one_in_flight_is_the_sequential_search() -> None:
    """With one call in flight virtual loss changes nothing."""
    settings = WIDE.model_copy(update={"max_in_flight": 1})
    plain, _ = searched(settings, 3)
    heavy, _ = searched(settings.model_copy(update={"virtual_loss": 99.0}), 3)
    assert plain.tree == heavy.tree


@pytest.mark.parametrize(("limit", "solved"), [({"stop_when_solved": 1}, 1), ({"stop_at_value": 0.0}, 1)])
def test_early_stops_begin_no_further_iteration(limit: dict[str, float], solved: int) -> None:
    """Once the goal is met what is in flight is fed, and nothing more is asked."""
    settings = WIDE.model_copy(update={"num_iterations": 50, **limit})
    search = TreeSearch(SearchTree(PROBLEM), SUMS, settings)
    policy = Wanderer(5)
    while search.in_flight and search.num_correct < solved:
        call = next(iter(search.in_flight.values()))
        search.feed(call, policy(search, call))
    waiting = len(search.in_flight)
    while search.in_flight:
        call = next(iter(search.in_flight.values()))
        search.feed(call, policy(search, call))
        waiting -= 1
    assert waiting == 0
    assert search.tree.num_iterations < 50


def test_a_search_without_gain_stops() -> None:
    """Four iterations without a new right terminal are the last."""
    settings = SearchSettings(num_iterations=50, num_actions=2, num_rollouts=1, stop_without_gain=4)
    search = TreeSearch(SearchTree(PROBLEM), SUMS, settings)
    while (call := search.next_call()) is not None:
        texts = [f"+{n} = {n}\n" if call.kind is CallKind.EXPAND else f"{stop(7)}\n" for n in range(call.num_samples)]
        search.feed(call, answer(search, call, texts))
    assert search.tree.num_iterations == 4
