"""A group as it is sent: serialised once, when it is made, under the lease of its first delivery."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Self

from retrograde.core.rollout import RolloutGroup
from retrograde.v1.rollouts_service_pb2 import PullRolloutsResponse
from retrograde.wire.convert_rollout import rollout_group_to_proto
from services.rollouts.tickets import Ticket


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """`response` is a serialised PullRolloutsResponse; `lengths` are the tokens of its samples."""

    ticket: Ticket
    lease_id: str
    policy_version: int
    lengths: tuple[int, ...]
    response: bytes

    @classmethod
    def of(cls, ticket: Ticket, group: RolloutGroup) -> Self:
        """The first one of a group."""
        lease_id = _new_lease(ticket)
        message = rollout_group_to_proto(replace(group, lease_id=lease_id))
        lengths = tuple(len(sample.token_ids) for sample in group.samples)
        response = PullRolloutsResponse(group=message).SerializeToString()
        return cls(ticket, lease_id, group.policy_version, lengths, response)

    def again(self) -> Self:
        """The same group under another lease, whose id takes the place of the earlier one."""
        lease_id = _new_lease(self.ticket)
        response = self.response.replace(self.lease_id.encode(), lease_id.encode(), 1)
        return replace(self, lease_id=lease_id, response=response)

    @property
    def id(self) -> str:
        """Of the group."""
        return self.ticket.id


def _new_lease(ticket: Ticket) -> str:
    """Random, and of one length for all of a ticket: in a message one can take the place of another."""
    return f"{ticket.id}/{uuid.uuid4().hex[:12]}"
