"""The state of a feed as a value: events in, who holds what out. No store, no clock of its own.

A prompt of an epoch is a ticket. A ticket is free, taken (being sampled, or ready), leased to a consumer, or done:
acknowledged, or dropped for a reason. Tickets come in an order that is a function of the seed, each prompt once in each
epoch; what is free again comes before what was never taken.

    session   {consumer, leases}             its other leases end, their tickets are free
    lease     {consumer, lapses_at, leases}  lease id -> ticket
    return    {leases}                       leased and not delivered: free
    ack       {tickets}                      done
    drop      {reason, tickets}              done
    rates     {epoch, rates}                 prompt index -> share of right answers
    policy    {version}                      published

A lease that lapses leaves its ticket free, and can still be acknowledged until the ticket is leased again.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

from retrograde.runtime.errors import NotFoundError

_NUM_VERSIONS_KEPT = 1024
_SPARE_LAPSES = 1024


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


@dataclass(frozen=True, slots=True)
class Lease:
    """`consumer` holds a ticket until `lapses_at`, in seconds since 1970."""

    id: str
    consumer: str
    lapses_at: float


@functools.lru_cache(maxsize=16)
def prompt_order(num_prompts: int, seed: int, epoch: int) -> tuple[int, ...]:
    """Indices of the prompts in the order of `epoch`."""
    order = list(range(num_prompts))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return tuple(order)


@dataclass(slots=True)
class Tickets:
    """All tickets of one feed. Memory is bounded by what is out of order, not by how long the feed has run."""

    num_prompts: int
    num_epochs: int = 0  # 0: without end
    leases: dict[Ticket, Lease] = field(default_factory=dict)
    num_acknowledged: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    rates: dict[int, tuple[int, float]] = field(default_factory=dict)  # prompt index -> (epoch, share of right answers)
    versions: list[int] = field(default_factory=list)
    first_open: Ticket = Ticket(0, 0)
    _done: set[Ticket] = field(default_factory=set)  # those after first_open
    _cursor: Ticket = Ticket(0, 0)  # the first that was never taken
    _free: list[Ticket] = field(default_factory=list)
    _taken: set[Ticket] = field(default_factory=set)
    _lapses: list[tuple[float, Ticket, str]] = field(default_factory=list)
    _held: defaultdict[str, set[Ticket]] = field(default_factory=lambda: defaultdict(set))

    @property
    def used(self) -> set[Ticket]:
        """All that are done."""
        epochs = range(self.first_open.epoch + 1)
        before = (Ticket(epoch, place) for epoch in epochs for place in range(self.num_prompts))
        return {ticket for ticket in before if ticket < self.first_open} | self._done

    @property
    def ended(self) -> bool:
        """All epochs are done."""
        return 0 < self.num_epochs <= self.first_open.epoch

    def is_done(self, ticket: Ticket) -> bool:
        """Acknowledged or dropped."""
        return ticket < self.first_open or ticket in self._done

    def num_held(self, consumer: str) -> int:
        """Leases of `consumer` that have not lapsed."""
        return len(self._held[consumer])

    def holders(self) -> dict[str, int]:
        """Leases of each consumer that holds any."""
        return {consumer: len(tickets) for consumer, tickets in self._held.items() if tickets}

    def lag(self, policy_version: int) -> int:
        """How many newer versions were published."""
        return sum(version > policy_version for version in self.versions)

    def next_lapse(self) -> float:
        """When the next lease may lapse; infinity without one."""
        return self._lapses[0][0] if self._lapses else float("inf")

    def take(self, count: int, now: float) -> list[Ticket]:
        """The next free tickets, at most `count`; taken until leased, done or `give_back`."""
        self._lapse(now)
        taken: list[Ticket] = []
        while len(taken) < count and (ticket := self._next_free()):
            taken.append(ticket)
            self._taken.add(ticket)
        return taken

    def give_back(self, ticket: Ticket) -> None:
        """It was taken and is free again, unless something else has become of it."""
        if ticket in self._taken:
            self._taken.discard(ticket)
            heapq.heappush(self._free, ticket)

    def leased_as(self, lease_id: str, consumer: str) -> Ticket | None:
        """The ticket of a lease that can be acknowledged; None when that was done before. Raises NotFoundError."""
        ticket = _ticket_of(lease_id)
        lease = self.leases.get(ticket)
        if lease and lease.id == lease_id:
            if lease.consumer != consumer:
                raise NotFoundError(f"lease_ids: {lease_id!r} is held by consumer {lease.consumer!r}, not {consumer!r}")
            return ticket
        if self.is_done(ticket):
            return None
        raise NotFoundError(f"lease_ids: {lease_id!r} has lapsed or was never given; pull the group again")

    def is_held_as(self, lease_id: str, now: float) -> bool:
        """Whether that lease is the last one of its ticket and has not lapsed."""
        lease = self.leases.get(_ticket_of(lease_id))
        return lease is not None and lease.id == lease_id and now < lease.lapses_at

    def is_leased_as(self, lease_id: str) -> bool:
        """Whether that lease is the last one of its ticket."""
        lease = self.leases.get(_ticket_of(lease_id))
        return lease is not None and lease.id == lease_id

    def apply(self, event: Mapping[str, Any]) -> None:
        """Takes an event up; those above, and no other."""
        match event:
            case {"event": "session", "consumer": str(consumer)}:
                kept, held = set(event.get("leases", ())), list(self.leases.items())
                self._end(ticket for ticket, lease in held if lease.consumer == consumer and lease.id not in kept)
            case {"event": "lease", "consumer": str(consumer), "lapses_at": float(lapses_at), "leases": dict(leases)}:
                for lease_id, ticket in leases.items():
                    self._lease(Ticket.parse(ticket), Lease(lease_id, consumer, lapses_at))
            case {"event": "return", "leases": list(lease_ids)}:
                self._end(_ticket_of(each) for each in lease_ids if self.is_leased_as(each))
            case {"event": "ack", "tickets": list(tickets)}:
                self.num_acknowledged += self._finish(tickets)
            case {"event": "drop", "reason": str(reason), "tickets": list(tickets)}:
                self.dropped[reason] += self._finish(tickets)
            case {"event": "rates", "epoch": int(epoch), "rates": dict(rates)}:
                self.rates |= {int(index): (epoch, float(rate)) for index, rate in rates.items()}
            case {"event": "policy", "version": int(version)}:
                self.versions = [*self.versions, version][-_NUM_VERSIONS_KEPT:]
            case _:
                raise ValueError(f"ledger: unknown event {event!r}")

    def snapshot(self) -> dict[str, Any]:
        """Everything that events have made of it, in JSON."""
        return {
            "first_open": self.first_open.id,
            "done": sorted(ticket.id for ticket in self._done),
            "num_acknowledged": self.num_acknowledged,
            "dropped": dict(self.dropped),
            "leases": [[ticket.id, *astuple(lease)] for ticket, lease in self.leases.items()],
            "rates": {str(index): list(rate) for index, rate in self.rates.items()},
            "versions": self.versions,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave; this one must be new."""
        self.first_open = self._cursor = Ticket.parse(snapshot["first_open"])
        self.num_acknowledged = snapshot["num_acknowledged"]
        self.dropped.update(snapshot["dropped"])
        for ticket in snapshot["done"]:
            self._done.add(self._seen(Ticket.parse(ticket)))
        for ticket, *lease in snapshot["leases"]:
            self._lease(Ticket.parse(ticket), Lease(*lease))
        self.rates = {int(index): (epoch, rate) for index, (epoch, rate) in snapshot["rates"].items()}
        self.versions = list(snapshot["versions"])

    def _is_held(self, ticket: Ticket) -> bool:
        """Leased, and not lapsed."""
        lease = self.leases.get(ticket)
        return lease is not None and ticket in self._held[lease.consumer]

    def _lease(self, ticket: Ticket, lease: Lease) -> None:
        self._seen(ticket)
        if self.is_done(ticket):  # by a change that was told as failed, and stored all the same
            return
        earlier = self.leases.get(ticket)
        if earlier:
            self._held[earlier.consumer].discard(ticket)
        self.leases[ticket] = lease
        self._held[lease.consumer].add(ticket)
        self._taken.discard(ticket)
        heapq.heappush(self._lapses, (lease.lapses_at, ticket, lease.id))
        if len(self._lapses) > 2 * len(self.leases) + _SPARE_LAPSES:
            self._lapses = [(each.lapses_at, held, each.id) for held, each in self.leases.items()]
            heapq.heapify(self._lapses)

    def _end(self, tickets: Iterable[Ticket]) -> None:
        """Their leases are gone; the tickets are free, but for those that had lapsed before."""
        for ticket in tickets:
            consumer = self.leases.pop(ticket).consumer
            if ticket in self._held[consumer]:
                self._held[consumer].discard(ticket)
                heapq.heappush(self._free, ticket)

    def _finish(self, names: Iterable[str]) -> int:
        """Marks tickets done; returns how many were not before."""
        fresh = {ticket for ticket in map(Ticket.parse, names) if not self.is_done(ticket)}
        for ticket in fresh:
            self._done.add(self._seen(ticket))
            self._taken.discard(ticket)
            lease = self.leases.pop(ticket, None)
            if lease:
                self._held[lease.consumer].discard(ticket)
        while self.first_open in self._done:
            self._done.discard(self.first_open)
            self.first_open = self._after(self.first_open)
        return len(fresh)

    def _lapse(self, now: float) -> None:
        while self._lapses and self._lapses[0][0] <= now:
            _, ticket, lease_id = heapq.heappop(self._lapses)
            lease = self.leases.get(ticket)
            if lease and lease.id == lease_id and self._is_held(ticket):
                self._held[lease.consumer].discard(ticket)
                heapq.heappush(self._free, ticket)

    def _next_free(self) -> Ticket | None:
        while self._free:
            ticket = heapq.heappop(self._free)
            if not (self.is_done(ticket) or ticket in self._taken or self._is_held(ticket)):
                return ticket
        ticket = self._cursor
        if 0 < self.num_epochs <= ticket.epoch:
            return None
        self._cursor = self._after(ticket)
        return ticket

    def _seen(self, ticket: Ticket) -> Ticket:
        """After a restart, `ticket` tells how far earlier lives came: what lies before it and is not held is free."""
        while self._cursor <= ticket:
            if self._cursor != ticket:
                heapq.heappush(self._free, self._cursor)
            self._cursor = self._after(self._cursor)
        return ticket

    def _after(self, ticket: Ticket) -> Ticket:
        last = ticket.position + 1 == self.num_prompts
        return Ticket(ticket.epoch + 1, 0) if last else Ticket(ticket.epoch, ticket.position + 1)


def _ticket_of(lease_id: str) -> Ticket:
    """The ticket that a lease id begins with. Raises NotFoundError when it is none of ours."""
    try:
        return Ticket.parse(lease_id.partition("/")[0])
    except ValueError as error:
        raise NotFoundError(
            f"lease_ids: {lease_id!r} was never given; acknowledge what a group's lease_id says"
        ) from error
