"""Partitions are spread evenly and stay where they are when they can."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from retrograde.runtime.adapters.assignment import assign

NAMES = st.lists(st.sampled_from("abcdefg"), unique=True)


def test_a_first_member_gets_everything() -> None:
    """One member holds all partitions."""
    assert assign(3, ["a"], {}) == {0: "a", 1: "a", 2: "a"}


def test_only_what_must_move_moves() -> None:
    """A second member takes half; the first keeps its other half."""
    assert assign(4, ["a", "b"], {0: "a", 1: "a", 2: "a", 3: "a"}) == {0: "a", 1: "a", 2: "b", 3: "b"}


def test_a_leaver_s_partitions_are_shared_out() -> None:
    """What the leaver held goes to those with least."""
    held = {0: "a", 1: "b", 2: "c", 3: "c"}
    assert assign(4, ["a", "b"], held) == {0: "a", 1: "b", 2: "a", 3: "b"}


def test_nobody_there() -> None:
    """Without members nothing is assigned."""
    assert assign(4, [], {0: "a"}) == {}


@given(st.integers(1, 12), NAMES, NAMES)
def test_every_partition_has_one_holder_and_loads_differ_by_one(
    num_partitions: int, before: list[str], after: list[str]
) -> None:
    """From any assignment to any membership: complete, balanced, and no partition moves that could stay."""
    held = assign(num_partitions, before, {})
    now = assign(num_partitions, after, held)
    assert set(now) == (set(range(num_partitions)) if after else set())
    loads = Counter(dict.fromkeys(after, 0))
    loads.update(now.values())
    assert not after or max(loads.values()) - min(loads.values()) <= 1
    had = sorted((sum(held.get(part) == name for part in now) for name in after), reverse=True)
    stayed = sum(held.get(part) == now[part] for part in now)
    assert stayed == sum(
        min(load, share) for load, share in zip(had, sorted(loads.values(), reverse=True), strict=True)
    )


@given(st.integers(1, 12), NAMES)
def test_an_unchanged_membership_moves_nothing(num_partitions: int, members: list[str]) -> None:
    """Assigning again with the same members gives the same assignment."""
    held = assign(num_partitions, members, {})
    assert assign(num_partitions, members, held) == held
