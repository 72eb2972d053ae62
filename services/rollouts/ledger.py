"""Who holds which prompt of a feed, as a log of events.

A prompt of an epoch is a ticket. A ticket is free, leased (given to a trainer) or used (acknowledged). Every change is
an event stored under `<feed>/ledger/` before it takes effect, so a killed service finds its state again by reading the
events in order. The order of tickets is a function of the seed: epoch after epoch, each prompt once in each.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.objects import ObjectStore


@dataclass(frozen=True, slots=True, order=True)
class Ticket:
    """The `position`-th prompt of `epoch`."""

    epoch: int
    position: int

    @property
    def id(self) -> str:
        """Stable name: a redelivered group has the same."""
        return f"{self.epoch:04d}-{self.position:07d}"

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """The ticket named `text`."""
        epoch, position = text.split("-")
        return cls(int(epoch), int(position))


def prompt_order(num_prompts: int, seed: int, epoch: int) -> list[int]:
    """Indices of the prompts in the order of `epoch`."""
    order = list(range(num_prompts))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return order


@dataclass(slots=True)
class Ledger:
    """The state of one feed; `leases` maps a lease id to (ticket, time it lapses, seconds since the epoch)."""

    store: ObjectStore
    prefix: str
    num_prompts: int
    leases: dict[str, tuple[Ticket, float]] = field(default_factory=dict)
    used: set[Ticket] = field(default_factory=set)
    num_events: int = 0
    _sampling: set[Ticket] = field(default_factory=set)
    _first_open: Ticket = Ticket(0, 0)

    def replay(self) -> None:
        """Reads all events of the store, oldest first."""
        for key in self.store.list(f"{self.prefix}/ledger/"):
            self._apply(json.loads(self.store.get(key)))
            self.num_events += 1

    def hand_back_all(self) -> None:
        """A trainer's new session: what it held before and did not acknowledge is free again."""
        self._record({"event": "session"})

    def lease(self, lease_id: str, ticket: Ticket, lapses_at: float) -> None:
        """`ticket` is about to be delivered under `lease_id`."""
        self._record({"event": "lease", "lease": lease_id, "ticket": ticket.id, "lapses_at": lapses_at})
        self._sampling.discard(ticket)

    def acknowledge(self, lease_ids: Iterable[str]) -> None:
        """The tickets are used for good; twice counts once. An unknown lease raises NotFoundError."""
        tickets = [self._ticket_of(lease_id) for lease_id in lease_ids]
        fresh = sorted({ticket.id for ticket in tickets if ticket not in self.used})
        if fresh:
            self._record({"event": "ack", "tickets": fresh})

    def take(self, count: int, now: float) -> list[Ticket]:
        """The next `count` free tickets; they count as being sampled until leased or `give_back`."""
        for lease_id in [lease_id for lease_id, (_, lapses_at) in self.leases.items() if lapses_at <= now]:
            del self.leases[lease_id]
        held = {ticket for ticket, _ in self.leases.values()}
        taken: list[Ticket] = []
        for ticket in self._from_first_open():
            if len(taken) == count:
                break
            if ticket not in self.used and ticket not in held and ticket not in self._sampling:
                taken.append(ticket)
        self._sampling.update(taken)
        return taken

    def give_back(self, tickets: Iterable[Ticket]) -> None:
        """Sampling was broken off before delivery."""
        self._sampling.difference_update(tickets)

    def _ticket_of(self, lease_id: str) -> Ticket:
        if lease_id in self.leases:
            return self.leases[lease_id][0]
        ticket = Ticket.parse(lease_id.partition("/")[0])
        if ticket not in self.used:
            raise NotFoundError(f"lease_ids: {lease_id!r} has lapsed or was never given; pull the group again")
        return ticket

    def _from_first_open(self) -> Iterator[Ticket]:
        while self._first_open in self.used:
            self._first_open = self._after(self._first_open)
        ticket = self._first_open
        while True:
            yield ticket
            ticket = self._after(ticket)

    def _after(self, ticket: Ticket) -> Ticket:
        last = ticket.position + 1 == self.num_prompts
        return Ticket(ticket.epoch + 1, 0) if last else Ticket(ticket.epoch, ticket.position + 1)

    def _record(self, event: Mapping[str, object]) -> None:
        self.store.put(f"{self.prefix}/ledger/{self.num_events:09d}.json", json.dumps(event).encode())
        self.num_events += 1
        self._apply(event)

    def _apply(self, event: Mapping[str, object]) -> None:
        match event:
            case {"event": "session"}:
                self.leases.clear()
            case {"event": "lease", "lease": str(lease_id), "ticket": str(ticket), "lapses_at": float(lapses_at)}:
                self.leases[lease_id] = (Ticket.parse(ticket), lapses_at)
            case {"event": "ack", "tickets": list(tickets)}:
                done = {Ticket.parse(ticket) for ticket in tickets}
                self.used |= done
                self.leases = {lease: held for lease, held in self.leases.items() if held[0] not in done}
            case _:
                raise ValueError(f"{self.prefix}/ledger: unknown event {event!r}")
