"""A group as it is sent: serialised once, when it is made, under the lease of its first delivery.

A serialised PullRolloutsResponse of one group begins with the byte that says it is `group`. With the byte of `groups`
in its place, responses may be put one after another: together they are the response that has all of the groups.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from retrograde.core.rollout import RolloutGroup
from retrograde.v1.rollouts_service_pb2 import PullRolloutsResponse
from retrograde.wire.convert_rollout import rollout_group_to_proto
from services.rollouts.tickets import Ticket

MOST_BYTES = 64 << 20
"""In one message of several groups, whatever a pull asks for: a stream holds one in memory."""
_ONE_OF_SEVERAL = bytes((PullRolloutsResponse.GROUPS_FIELD_NUMBER << 3 | 2,))


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


def batches(groups: Sequence[Delivery], max_bytes: int) -> Iterator[list[Delivery]]:
    """All of them in order, as many together as make at most `max_bytes`, and `MOST_BYTES`, or one."""
    most = min(max_bytes, MOST_BYTES)
    batch: list[Delivery] = []
    num_bytes = 0
    for group in groups:
        num_bytes += len(group.response)
        if batch and num_bytes > most:
            yield batch
            batch, num_bytes = [], len(group.response)
        batch.append(group)
    if batch:
        yield batch


def response(batch: Sequence[Delivery]) -> bytes:
    """The PullRolloutsResponse of these groups."""
    if len(batch) == 1:
        return batch[0].response
    return b"".join(part for group in batch for part in (_ONE_OF_SEVERAL, memoryview(group.response)[1:]))


def _new_lease(ticket: Ticket) -> str:
    """Random, and of one length for all of a ticket: in a message one can take the place of another."""
    return f"{ticket.id}/{uuid.uuid4().hex[:12]}"
