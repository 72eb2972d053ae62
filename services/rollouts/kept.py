"""Groups that were leased, kept to be redelivered as they were; the oldest leave when they are too many."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from services.rollouts.delivery import Delivery
from services.rollouts.tickets import Ticket


@dataclass(slots=True)
class Kept:
    """At most `max_bytes` over all feeds. A group that has left is sampled again under its id."""

    max_bytes: int
    num_bytes: int = 0
    _groups: OrderedDict[tuple[str, Ticket], Delivery] = field(default_factory=OrderedDict)

    def put(self, feed: str, group: Delivery) -> None:
        """Keeps the group, in place of an earlier one."""
        self.pop(feed, group.ticket)
        self._groups[feed, group.ticket] = group
        self.num_bytes += len(group.response)
        while self.num_bytes > self.max_bytes:
            self.num_bytes -= len(self._groups.popitem(last=False)[1].response)

    def pop(self, feed: str, ticket: Ticket) -> Delivery | None:
        """The group, kept no longer; None when it is not here."""
        group = self._groups.pop((feed, ticket), None)
        if group is not None:
            self.num_bytes -= len(group.response)
        return group
