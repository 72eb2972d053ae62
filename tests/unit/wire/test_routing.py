"""Laws of the choice of a replica, over generated replicas, keys and calls."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrograde.wire.routing import LONGEST_PAUSE_SECONDS, Routes, Spill, ranked

ADDRESSES = st.lists(
    st.builds("10.{}.{}.{}:50051".format, *[st.integers(0, 255)] * 3), min_size=1, max_size=8, unique=True
)
KEYS = st.text(max_size=40)


def routes(addresses: list[str], spill: Spill | None = None) -> Routes:
    made = Routes(spill)
    made.replace(addresses)
    return made


def chosen(of: Routes, key: str) -> str:
    choice = of.choose(key)
    assert choice is not None
    return choice.address


@given(ADDRESSES, KEYS, st.randoms(use_true_random=False))
def test_the_order_depends_on_the_set_alone(addresses: list[str], key: str, rng: object) -> None:
    """Every client ranks the same replicas alike, in whatever order it got them."""
    shuffled = list(addresses)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ranked(key, shuffled) == ranked(key, addresses)
    assert sorted(ranked(key, addresses)) == sorted(addresses)


@given(ADDRESSES.filter(lambda some: len(some) > 1), st.lists(KEYS, min_size=1, max_size=30), st.data())
def test_only_the_keys_of_a_replica_that_leaves_move(
    addresses: list[str], keys: list[str], data: st.DataObject
) -> None:
    """Without one replica each other key stays where it was, and the keys of that one go to their second choice.

    Read backwards, it is what happens when a replica joins.
    """
    gone = data.draw(st.sampled_from(addresses))
    left = [each for each in addresses if each != gone]
    for key in keys:
        first, second = ranked(key, addresses)[:2]
        assert chosen(routes(left), key) == (second if first == gone else first)


@given(ADDRESSES)
def test_keys_are_spread_evenly(addresses: list[str]) -> None:
    """Of 400 keys for each replica, every replica has between 300 and 500: five standard deviations."""
    shares = Counter(ranked(f"tree-{number}", addresses)[0] for number in range(400 * len(addresses)))
    assert {address: 300 <= shares[address] <= 500 for address in addresses} == dict.fromkeys(addresses, True)


@given(
    ADDRESSES,
    st.floats(1, 4),
    st.integers(0, 64),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 64), st.booleans()), max_size=60),
)
def test_the_bound_on_load_holds(
    addresses: list[str], factor: float, floor: int, calls: list[tuple[str, int, bool]]
) -> None:
    """A call goes to the first in its key's order at or below the bound, whatever is in flight; one always is."""
    of = routes(addresses, Spill(factor, floor))
    begun: list[tuple[str, int]] = []
    for key, num_samples, ends in calls:
        most = max(floor, factor * sum(of.in_flight(each) for each in addresses) / len(addresses))
        address = chosen(of, key)
        order = ranked(key, addresses)
        over = [of.in_flight(each) > most for each in order[: order.index(address) + 1]]
        assert over == [True] * (len(over) - 1) + [False]
        of.begin(address, num_samples)
        begun.append((address, num_samples))
        if ends:
            of.end(*begun.pop(0))


def test_a_full_replica_passes_on_and_takes_again() -> None:
    """Above the bound a key's calls go to its second replica; once the first has room, to the first again."""
    of = routes(["a:1", "b:1"], Spill(factor=1.5, floor=4))
    first, second = ranked("tree", ["a:1", "b:1"])
    of.begin(first, 5)
    assert chosen(of, "tree") == second
    of.end(first, 5)
    assert chosen(of, "tree") == first


def test_a_bound_that_could_leave_no_replica_is_refused() -> None:
    """A factor below 1 is named with the fix."""
    with pytest.raises(ValueError, match=r"factor: 0\.9 could leave no replica to choose; give at least 1"):
        Spill(factor=0.9)


@given(ADDRESSES, KEYS)
def test_replicas_put_aside_one_by_one_are_left_in_the_order_of_the_key(addresses: list[str], key: str) -> None:
    """Each failure moves a key to its next choice; when the last is aside there is none; then all are taken back."""
    of = routes(addresses)
    seen = []
    while choice := of.choose(key):
        seen.append(choice.address)
        assert of.put_aside(choice.address)
    assert seen == ranked(key, addresses)
    for address in addresses:
        of.take_back(address)
    assert chosen(of, key) == seen[0]


def test_refusals_are_left_out() -> None:
    """A replica that refused this call is not chosen for it again."""
    first, second = ranked("tree", ["a:1", "b:1"])
    choice = routes(["a:1", "b:1"]).choose("tree", {first})
    assert choice is not None
    assert choice.address == second
    assert routes(["a:1", "b:1"]).choose("tree", {first, second}) is None


def test_pauses_double_to_a_bound_and_an_answer_ends_them() -> None:
    """Failures in a row double the pause before a probe; only an answer to a call makes it short again."""
    of = routes(["a:1"])
    pauses = []
    for _ in range(9):
        of.put_aside("a:1")
        pauses.append(of.pause_seconds("a:1"))
        of.take_back("a:1")
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[LONGEST_PAUSE_SECONDS] * 3]
    of.answered("a:1")
    of.put_aside("a:1")
    assert of.pause_seconds("a:1") == 0.1


def test_failures_of_calls_together_count_once() -> None:
    """Calls that fail at the same time are one failure; a late answer to an older call does not take a replica back."""
    of = routes(["a:1"])
    assert [of.put_aside("a:1") for _ in range(3)] == [True, False, False]
    of.answered("a:1")
    assert of.is_aside("a:1")
    assert of.pause_seconds("a:1") == 0.1


def test_a_replica_that_is_gone_is_forgotten_but_for_its_calls() -> None:
    """What is in flight there is still counted; put aside it cannot be; back, it begins anew."""
    of = routes(["a:1", "b:1"])
    of.begin("a:1", 3)
    of.put_aside("a:1")
    of.replace(["b:1"])
    assert (of.in_flight("a:1"), of.put_aside("a:1"), of.num_aside) == (3, False, 0)
    of.end("a:1", 3)
    of.replace(["b:1", "a:1"])
    assert (of.in_flight("a:1"), of.is_aside("a:1")) == (0, False)
