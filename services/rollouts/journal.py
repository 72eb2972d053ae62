"""Changes of a feed's ledger, one at a time: decided when it is their turn, stored, and only then in effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from services.rollouts.ledger import Ledger
from services.rollouts.tickets import Ticket, Tickets

Event = dict[str, Any]


@dataclass(slots=True)
class Journal:
    """The only one that changes `ledger`. The tickets are read and changed on the event loop alone."""

    ledger: Ledger
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _drops: list[tuple[Ticket, str]] = field(default_factory=list)
    _rates: list[Event] = field(default_factory=list)

    @property
    def tickets(self) -> Tickets:
        """Who holds what."""
        return self.ledger.tickets

    async def record(self, events: Callable[[], list[Event]]) -> None:
        """Stores what `events` says once it is its turn, then applies it, also when the caller is cancelled."""
        storing = asyncio.create_task(self._store(events))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await asyncio.wait([storing])
            raise

    async def drop(self, ticket: Ticket, reason: str) -> None:
        """Its prompt counts as used, and the ledger says why. What comes together is stored together.

        Where another's change took this drop with it and failed, it has had no effect, and this does not raise.
        """
        self._drops.append((ticket, reason))

        def events() -> list[Event]:
            drops, self._drops = self._drops, []
            return [_drop_event(drops, each) for each in sorted({reason for _, reason in drops})]

        await self.record(events)

    def note_rate(self, epoch: int, prompt: int, rate: float) -> None:
        """The prompt's share of right answers; stored with the next change."""
        self._rates.append({"event": "rates", "epoch": epoch, "rates": {str(prompt): rate}})

    async def _store(self, events: Callable[[], list[Event]]) -> None:
        async with self._lock:
            told = events()
            if not told:
                return
            rates = list(self._rates)
            await asyncio.to_thread(self.ledger.append, [*rates, *told])
            del self._rates[: len(rates)]
            for event in [*rates, *told]:
                self.tickets.apply(event)


def lease_event(consumer: str, lapses_at: float, leases: dict[str, str]) -> Event:
    """`consumer` holds tickets, each named by its lease, until `lapses_at`."""
    return {"event": "lease", "consumer": consumer, "lapses_at": lapses_at, "leases": leases}


def _drop_event(drops: list[tuple[Ticket, str]], reason: str) -> Event:
    return {"event": "drop", "reason": reason, "tickets": [ticket.id for ticket, why in drops if why == reason]}
