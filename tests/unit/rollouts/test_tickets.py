"""Every prompt of every epoch is used exactly once, whatever becomes of who holds it."""

from __future__ import annotations

import pytest

from retrograde.runtime.errors import NotFoundError
from services.rollouts.tickets import Ticket, Tickets, prompt_order

NEVER = 1e12


@pytest.fixture
def tickets() -> Tickets:
    return Tickets(num_prompts=3)


def lease(tickets: Tickets, ticket: Ticket, consumer: str = "", lapses_at: float = NEVER, name: str = "x") -> str:
    """`consumer` holds `ticket`; returns the lease's id."""
    lease_id = f"{ticket.id}/{name}"
    event = {"event": "lease", "consumer": consumer, "lapses_at": lapses_at, "leases": {lease_id: ticket.id}}
    tickets.apply(event)
    return lease_id


def test_tickets_come_epoch_after_epoch() -> None:
    """The order of an epoch holds each prompt once and changes with seed and epoch only."""
    orders = [prompt_order(50, 1, 0), prompt_order(50, 1, 1), prompt_order(50, 2, 0)]
    assert [sorted(order) for order in orders] == [list(range(50))] * 3
    assert orders[0] != orders[1] != orders[2]
    assert prompt_order.__wrapped__(50, 1, 0) == orders[0]


def test_taken_tickets_are_not_given_twice(tickets: Tickets) -> None:
    """Two pulls at once get different prompts, and the second runs into the next epoch."""
    assert tickets.take(2, 0.0) == [Ticket(0, 0), Ticket(0, 1)]
    assert tickets.take(2, 0.0) == [Ticket(0, 2), Ticket(1, 0)]


def test_the_last_epoch_is_the_end() -> None:
    """With `num_epochs` no more tickets are given, and the feed has ended once all are done."""
    tickets = Tickets(num_prompts=3, num_epochs=1)
    taken = tickets.take(10, 0.0)
    assert taken == [Ticket(0, 0), Ticket(0, 1), Ticket(0, 2)]
    tickets.apply({"event": "ack", "tickets": [ticket.id for ticket in taken[:2]]})
    assert not tickets.ended
    tickets.apply({"event": "drop", "reason": "equal", "tickets": [taken[2].id]})
    assert tickets.ended
    assert (tickets.num_acknowledged, tickets.dropped) == (2, {"equal": 1})


def test_what_is_given_back_comes_first(tickets: Tickets) -> None:
    """A ticket that was never delivered is the next to be taken, and one that was delivered is not."""
    taken = tickets.take(2, 0.0)
    lease(tickets, taken[0])
    for ticket in taken:
        tickets.give_back(ticket)
    assert tickets.take(1, 0.0) == [Ticket(0, 1)]


def test_a_session_frees_what_its_consumer_holds(tickets: Tickets) -> None:
    """Another consumer's lease stays."""
    for ticket, consumer in zip(tickets.take(2, 0.0), "ab", strict=True):
        lease(tickets, ticket, consumer)
    tickets.apply({"event": "session", "consumer": "a"})
    assert tickets.holders() == {"b": 1}
    assert tickets.take(2, 0.0) == [Ticket(0, 0), Ticket(0, 2)]


def test_a_session_goes_on_with_the_leases_it_names(tickets: Tickets) -> None:
    """Its other ones end; a name that is none of its leases changes nothing."""
    first, second = tickets.take(2, 0.0)
    for ticket in (first, second):
        lease(tickets, ticket, "a")
    tickets.apply({"event": "session", "consumer": "a", "leases": [tickets.leases[second].id, "gone"]})
    assert tickets.holders() == {"a": 1}
    assert tickets.take(2, 0.0) == [first, Ticket(0, 2)]


def test_a_lease_lapses_at_its_time(tickets: Tickets) -> None:
    """Not before; and an earlier lease's time does not end a later lease."""
    (ticket,) = tickets.take(1, 0.0)
    lease(tickets, ticket, lapses_at=100.0)
    assert tickets.take(1, 99.0) == [Ticket(0, 1)]
    assert tickets.take(1, 100.0) == [ticket]
    lease(tickets, ticket, lapses_at=200.0, name="y")
    assert tickets.take(1, 101.0) == [Ticket(0, 2)]


def test_acknowledging_twice_counts_once(tickets: Tickets) -> None:
    """A repeated acknowledgement (a retried call) names no ticket any more."""
    (ticket,) = tickets.take(1, 0.0)
    lease_id = lease(tickets, ticket)
    assert tickets.leased_as(lease_id, "") == ticket
    for _ in range(2):
        tickets.apply({"event": "ack", "tickets": [ticket.id]})
    assert tickets.leased_as(lease_id, "") is None
    assert (tickets.num_acknowledged, tickets.used) == (1, {ticket})


def test_unknown_lease_is_refused(tickets: Tickets) -> None:
    """Acknowledging what was never given is an error that says what to do."""
    with pytest.raises(NotFoundError, match="pull the group again"):
        tickets.leased_as("0000-0000002/x", "")


def test_lag_counts_versions_published_since() -> None:
    """Versions need not be neighbours."""
    tickets = Tickets(3)
    for version in (2, 5, 9):
        tickets.apply({"event": "policy", "version": version})
    assert [tickets.lag(version) for version in (9, 5, 3, 1)] == [0, 1, 2, 3]


def test_memory_is_of_what_is_out_of_order() -> None:
    """After a hundred epochs in order, nothing is remembered one by one."""
    tickets = Tickets(num_prompts=50)
    for _ in range(5000):
        (ticket,) = tickets.take(1, 0.0)
        lease(tickets, ticket)
        tickets.apply({"event": "ack", "tickets": [ticket.id]})
    assert tickets.first_open == Ticket(100, 0)
    assert (len(tickets._done), len(tickets._free), len(tickets.leases)) == (0, 0, 0)
    assert len(tickets._lapses) <= 1025


def test_a_lease_of_what_is_done_is_none(tickets: Tickets) -> None:
    """A drop that was told as failed was stored all the same: after a restart nobody holds what was leased since."""
    (ticket,) = tickets.take(1, 0.0)
    tickets.apply({"event": "drop", "reason": "stale", "tickets": [ticket.id]})
    lease(tickets, ticket, "a")
    assert (tickets.holders(), tickets.leases) == ({}, {})
