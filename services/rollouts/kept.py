"""Groups that were leased, kept to be redelivered as they were; the oldest leave when they are too many."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from retrograde.v1.rollout_pb2 import RolloutGroup
from services.rollouts.tickets import Ticket


@dataclass(slots=True)
class Kept:
    """At most `max_bytes` over all feeds. A group that has left is sampled again under its id."""

    max_bytes: int
    num_bytes: int = 0
    _groups: OrderedDict[tuple[str, Ticket], RolloutGroup] = field(default_factory=OrderedDict)

    def put(self, feed: str, ticket: Ticket, group: RolloutGroup) -> None:
        """Keeps the group, in place of an earlier one."""
        self.pop(feed, ticket)
        self._groups[feed, ticket] = group
        self.num_bytes += group.ByteSize()
        while self.num_bytes > self.max_bytes:
            self.num_bytes -= self._groups.popitem(last=False)[1].ByteSize()

    def pop(self, feed: str, ticket: Ticket) -> RolloutGroup | None:
        """The group, kept no longer; None when it is not here."""
        group = self._groups.pop((feed, ticket), None)
        if group is not None:
            self.num_bytes -= group.ByteSize()
        return group
