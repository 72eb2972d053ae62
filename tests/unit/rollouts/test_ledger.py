"""Every prompt of every epoch is used exactly once, whatever dies in between."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import NotFoundError
from services.rollouts.ledger import Ledger, Ticket, prompt_order

NEVER = 1e12


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(f"file://{tmp_path}"), "runs/r/feeds/f", num_prompts=3)


def again(ledger: Ledger) -> Ledger:
    """The same feed in a restarted process."""
    fresh = Ledger(ledger.store, ledger.prefix, ledger.num_prompts)
    fresh.replay()
    return fresh


def test_tickets_come_epoch_after_epoch() -> None:
    """The order of an epoch holds each prompt once and changes with seed and epoch only."""
    orders = [prompt_order(50, 1, 0), prompt_order(50, 1, 1), prompt_order(50, 2, 0)]
    assert [sorted(order) for order in orders] == [list(range(50))] * 3
    assert orders[0] != orders[1] != orders[2]
    assert prompt_order(50, 1, 0) == orders[0]


def test_taken_tickets_are_not_given_twice(ledger: Ledger) -> None:
    """Two pulls at once get different prompts, and the second runs into the next epoch."""
    assert ledger.take(2, 0.0) == [Ticket(0, 0), Ticket(0, 1)]
    assert ledger.take(2, 0.0) == [Ticket(0, 2), Ticket(1, 0)]


def test_broken_off_sampling_frees_its_tickets(ledger: Ledger) -> None:
    """A ticket that was never delivered is given to the next pull."""
    taken = ledger.take(2, 0.0)
    ledger.lease("a", taken[0], NEVER)
    ledger.give_back(taken)
    assert ledger.take(1, 0.0) == [Ticket(0, 1)]


def test_acknowledged_tickets_never_come_back(ledger: Ledger) -> None:
    """Neither after a restart nor in a new session."""
    for ticket in ledger.take(2, 0.0):
        ledger.lease(f"{ticket.id}/x", ticket, NEVER)
    ledger.acknowledge(["0000-0000000/x"])
    restarted = again(ledger)
    restarted.hand_back_all()
    assert restarted.take(3, 0.0) == [Ticket(0, 1), Ticket(0, 2), Ticket(1, 0)]


def test_acknowledging_twice_counts_once(ledger: Ledger) -> None:
    """A repeated acknowledgement (a retried call) changes nothing, even after a restart."""
    (ticket,) = ledger.take(1, 0.0)
    ledger.lease(f"{ticket.id}/x", ticket, NEVER)
    ledger.acknowledge([f"{ticket.id}/x"])
    restarted = again(ledger)
    restarted.acknowledge([f"{ticket.id}/x"])
    assert restarted.used == {ticket}
    assert restarted.num_events == 2


def test_unknown_lease_is_refused(ledger: Ledger) -> None:
    """Acknowledging what was never given is an error that says what to do."""
    with pytest.raises(NotFoundError, match="pull the group again"):
        ledger.acknowledge(["0000-0000002/x"])


def test_leases_survive_a_restart_and_lapse(ledger: Ledger) -> None:
    """A restarted service keeps what trainers hold, until the lease lapses."""
    (ticket,) = ledger.take(1, 0.0)
    ledger.lease("a", ticket, 100.0)
    restarted = again(ledger)
    assert restarted.take(1, 99.0) == [Ticket(0, 1)]
    assert restarted.take(1, 100.0) == [ticket]


@pytest.mark.parametrize("seed", range(20))
def test_random_crashes_use_every_ticket_once(seed: int, tmp_path: Path) -> None:
    """Under random restarts, new sessions and lost deliveries, the first three epochs are used exactly once each."""
    rng = random.Random(seed)
    ledger = Ledger(open_store(f"file://{tmp_path}"), "f", num_prompts=4)
    acknowledged: list[Ticket] = []
    held: dict[str, Ticket] = {}
    while len(acknowledged) < 12:
        taken = ledger.take(rng.randint(1, 3), 0.0)
        for ticket in taken:
            if rng.random() < 0.7:
                held[f"{ticket.id}/{rng.random()}"] = ticket
                ledger.lease(list(held)[-1], ticket, NEVER)
        ledger.give_back(taken)
        for lease_id in rng.sample(sorted(held), rng.randint(0, len(held))):
            ledger.acknowledge([lease_id])
            acknowledged.append(held.pop(lease_id))
        if rng.random() < 0.3:
            ledger = again(ledger)
        if rng.random() < 0.3:
            ledger.hand_back_all()
            held.clear()
    assert len(set(acknowledged)) == len(acknowledged)
    assert ledger.used == set(acknowledged)
