"""The ledger says what may be committed."""

from __future__ import annotations

import random

from retrograde.runtime.broker import Message
from retrograde.runtime.ledger import Delivery, Ledger


def message(offset: int, partition: int = 0) -> Message:
    return Message("t", partition, offset, "k", b"")


def test_nothing_is_committable_past_a_gap() -> None:
    """Offsets done out of order are committed only below the first that is not."""
    ledger = Ledger()
    for offset in (3, 4, 5):
        assert ledger.begin(message(offset)) is Delivery.FIRST
    ledger.done(message(4))
    assert ledger.committable() == []
    ledger.done(message(3))
    assert ledger.committable() == [message(4)]
    ledger.committed(message(4))
    assert ledger.committable() == []
    ledger.done(message(5))
    assert ledger.committable() == [message(5)]


def test_partitions_are_independent() -> None:
    """A gap in one partition does not hold another back."""
    ledger = Ledger()
    for each in (message(0, 0), message(1, 0), message(0, 1)):
        ledger.begin(each)
    ledger.done(message(1, 0))
    ledger.done(message(0, 1))
    assert ledger.committable() == [message(0, 1)]


def test_a_redelivery_of_what_is_in_hand_is_not_begun_again() -> None:
    """The same offset is begun once while it is open or waits for its commit, and anew afterwards."""
    ledger = Ledger()
    assert ledger.begin(message(0)) is Delivery.FIRST
    assert ledger.begin(message(0)) is Delivery.IN_HAND
    ledger.done(message(0))
    assert ledger.begin(message(0)) is Delivery.IN_HAND
    assert ledger.partitions == {0}
    ledger.committed(message(0))
    assert ledger.begin(message(0)) is Delivery.AGAIN
    assert ledger.begin(message(1)) is Delivery.FIRST
    assert len(ledger) == 2


def test_a_lost_partition_is_forgotten() -> None:
    """After forget, nothing of the partition is committable, and a late end of old work changes nothing."""
    ledger = Ledger()
    ledger.begin(message(0))
    ledger.begin(message(1))
    ledger.done(message(0))
    ledger.forget(0)
    ledger.done(message(1))
    assert (ledger.committable(), ledger.partitions, len(ledger)) == ([], set(), 0)


def test_commits_never_skip_open_work_in_any_order() -> None:
    """Over random orders, a commit never covers an offset that is not done, and in the end covers all."""
    for seed in range(50):
        ledger, rng = Ledger(), random.Random(seed)
        offsets = list(range(20))
        for offset in offsets:
            ledger.begin(message(offset))
        rng.shuffle(offsets)
        done: set[int] = set()
        for offset in offsets:
            ledger.done(message(offset))
            done.add(offset)
            for each in ledger.committable():
                assert done >= set(range(each.offset + 1))
                ledger.committed(each)
        assert ledger.committable() == []
        assert done == set(range(20))
