"""A feed's state survives kills at any point, and its objects do not grow with its age."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import NotFoundError
from services.rollouts.ledger import Ledger
from services.rollouts.tickets import Ticket, Tickets

NEVER = 1e12
NUM_PROMPTS = 4


class KilledError(Exception):
    """The process ends here."""


class Effect(enum.Enum):
    """Of the call in which a process ends."""

    NONE = enum.auto()
    DONE = enum.auto()
    LATE = enum.auto()


class MortalStore:
    """Objects in memory; after `calls_left` puts and deletes the next one has its effect, or not, and all is over.

    A late one has it when the test says so: then the next process has begun.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls_left = 1 << 30
        self.effect = Effect.DONE
        self.on_its_way: list[Callable[[], object]] = []

    def put(self, key: str, data: bytes) -> None:
        self._change(lambda: self.objects.__setitem__(key, data))

    def delete(self, key: str) -> None:
        self._change(lambda: self.objects.pop(key, None))

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def arrive(self) -> None:
        for change in self.on_its_way:
            change()
        self.on_its_way.clear()

    def _change(self, change: Callable[[], object]) -> None:
        self.calls_left -= 1
        if self.calls_left >= 0 or self.effect is Effect.DONE:
            change()
        elif self.effect is Effect.LATE:
            self.on_its_way.append(change)
        if self.calls_left < 0:
            raise KilledError


def begin(store: Any, compact_every: int = 256) -> Ledger:
    """The feed in a new process."""
    ledger = read(store, compact_every)
    ledger.begin_life()
    return ledger


def read(store: Any, compact_every: int = 256) -> Ledger:
    """The feed as whoever only looks sees it."""
    ledger = Ledger(store, "f", Tickets(NUM_PROMPTS), compact_every)
    ledger.replay()
    return ledger


def change(ledger: Ledger, *events: dict[str, Any]) -> None:
    """Stored, then in effect."""
    ledger.append(events)
    for event in events:
        ledger.tickets.apply(event)


def lease(ledger: Ledger, ticket: Ticket, name: str = "x", consumer: str = "", lapses_at: float = NEVER) -> str:
    lease_id = f"{ticket.id}/{name}"
    leases = {lease_id: ticket.id}
    change(ledger, {"event": "lease", "consumer": consumer, "lapses_at": lapses_at, "leases": leases})
    return lease_id


def ack(ledger: Ledger, lease_id: str, consumer: str = "") -> None:
    ticket = ledger.tickets.leased_as(lease_id, consumer)
    if ticket:
        change(ledger, {"event": "ack", "tickets": [ticket.id]})


def test_a_restart_finds_leases_and_what_is_done(tmp_path: Path) -> None:
    """What was taken and not leased is free; leases go on until they lapse."""
    store = open_store(f"file://{tmp_path}")
    ledger = begin(store)
    for ticket in ledger.tickets.take(4, 0.0)[1:3]:
        lease(ledger, ticket, lapses_at=100.0)
    ack(ledger, "0000-0000001/x")
    again = begin(store)
    assert again.tickets.used == {Ticket(0, 1)}
    assert again.tickets.take(3, 99.0) == [Ticket(0, 0), Ticket(0, 3), Ticket(1, 0)]
    assert again.tickets.take(1, 100.0) == [Ticket(0, 2)]


def test_a_repeated_acknowledgement_after_a_restart_stores_nothing(tmp_path: Path) -> None:
    """It is known to be done."""
    store = open_store(f"file://{tmp_path}")
    ledger = begin(store)
    (ticket,) = ledger.tickets.take(1, 0.0)
    ack(ledger, lease(ledger, ticket))
    again = begin(store)
    ack(again, f"{ticket.id}/x")
    assert (again.tickets.num_acknowledged, again.num_changes) == (1, 4)  # two lives, a lease, an acknowledgement


def test_objects_do_not_grow_with_age() -> None:
    """Ten thousand changes later there is one snapshot, the changes since, and what is still to be deleted."""
    store = MortalStore()
    ledger = begin(store, compact_every=64)
    for _ in range(5_000):
        (ticket,) = ledger.tickets.take(1, 0.0)
        ack(ledger, lease(ledger, ticket))
        assert len(store.objects) <= 2 * 64 + 3
    assert begin(store, compact_every=64).tickets.snapshot() == ledger.tickets.snapshot()


def test_what_a_failed_put_left_behind_is_not_overwritten() -> None:
    """The store may have taken it after all: the next change has a number of its own."""
    store = MortalStore()
    ledger = begin(store)
    store.calls_left = 0
    with pytest.raises(KilledError):
        lease(ledger, Ticket(0, 0), "lost")
    store.calls_left = 1 << 30
    lease(ledger, Ticket(0, 0), "held")
    assert len(store.objects) == 3
    assert begin(store).tickets.leases[Ticket(0, 0)].id == "0000-0000000/held"


def test_what_arrives_late_changes_nothing() -> None:
    """A killed process had a change on its way: its successor began without it, and loses nothing to it."""
    store = MortalStore()
    killed = begin(store)
    store.calls_left, store.effect = 0, Effect.LATE
    with pytest.raises(KilledError):
        lease(killed, Ticket(0, 0), "late")
    store.calls_left = 1 << 30
    successor = begin(store)
    store.arrive()
    assert read(store).tickets.leases == {}
    lease(successor, Ticket(0, 0), "held")
    ack(successor, "0000-0000000/held")
    assert read(store).tickets.used == {Ticket(0, 0)}


def test_a_feed_from_before_lives_had_numbers_goes_on(tmp_path: Path) -> None:
    """Its changes and snapshots were named by their number alone."""
    store = open_store(f"file://{tmp_path}")
    ledger = begin(store, compact_every=2)
    for ticket in ledger.tickets.take(2, 0.0):
        ack(ledger, lease(ledger, ticket))
    for key in [*store.list("f/ledger/"), *store.list("f/snapshots/")]:
        store.put(f"{key.rpartition('-')[0]}.json", store.get(key))
        store.delete(key)
    again = begin(store, compact_every=2)
    ack(again, lease(again, Ticket(0, 2)))
    assert begin(store).tickets.used == {Ticket(0, place) for place in range(3)}


@settings(max_examples=200, deadline=None)
@given(
    kills=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(Effect)), max_size=12),
    compact_every=st.integers(1, 9),
    seed=st.integers(0, 1 << 16),
)
def test_kills_at_any_put_or_delete_use_every_ticket_once(
    kills: list[tuple[int, Effect]], compact_every: int, seed: int
) -> None:
    """Each ticket is acknowledged, none twice, and a restart knows all that was answered.

    Kills are before or after the effect of a put or delete: of events, of snapshots, of what these cover. Or it comes
    when the next process has begun.
    """
    store, rng, acknowledged = MortalStore(), random.Random(seed), set[str]()
    for calls, effect in [*kills, (1 << 30, Effect.DONE)]:
        store.calls_left, store.effect = calls, effect
        try:
            ledger = begin(store, compact_every)
            store.arrive()
            live(ledger, rng, acknowledged)
        except KilledError:
            store.calls_left = 1 << 30
            known = read(store, compact_every).tickets
            assert acknowledged <= {ticket.id for ticket in known.used}
            assert known.num_acknowledged == len(known.used)
    final = begin(store, compact_every).tickets
    assert final.used == {Ticket(epoch, place) for epoch in range(3) for place in range(NUM_PROMPTS)}
    assert final.num_acknowledged == 3 * NUM_PROMPTS


def live(ledger: Ledger, rng: random.Random, acknowledged: set[str]) -> None:
    """A life of the service with one trainer, until three epochs are used. The trainer notes what was answered."""
    tickets = ledger.tickets
    tickets.num_epochs = 3
    change(ledger, {"event": "session", "consumer": "a"})
    while not tickets.ended:
        held = [lease(ledger, ticket, f"{rng.random()}", "a") for ticket in tickets.take(rng.randint(1, 3), 0.0)]
        for lease_id in rng.sample(held, rng.randint(0, len(held))):
            assert lease_id.partition("/")[0] not in acknowledged
            ack(ledger, lease_id, "a")
            acknowledged.add(lease_id.partition("/")[0])
        change(ledger, {"event": "session", "consumer": "a"})


def test_an_unknown_event_is_an_error() -> None:
    """A ledger of another release is not half understood."""
    with pytest.raises(ValueError, match="unknown event"):
        Tickets(3).apply({"event": "nonsense"})
    with pytest.raises(NotFoundError, match="was never given"):
        Tickets(3).leased_as("x", "")
