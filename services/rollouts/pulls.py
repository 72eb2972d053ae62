"""Open streams, and who of those in line gets how much of what is ready."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.rollouts.delivery import Delivery


@dataclass(slots=True, eq=False)
class Pull:
    """What one open stream still wants, what it claimed, by lease id, and which leases it has and did not deliver."""

    num_groups: int
    min_policy_version: int = 0
    consumer: str = ""
    max_unacknowledged: int = 0
    max_message_bytes: int = 0
    session: int = 0
    error: Exception | None = None
    claimed: dict[str, Delivery] = field(default_factory=dict)
    leased: set[str] = field(default_factory=set)

    def room(self, num_held: int) -> int:
        """How many groups it may still be given, while its consumer holds `num_held`."""
        if not self.max_unacknowledged:
            return self.num_groups
        return max(0, min(self.num_groups, self.max_unacknowledged - num_held))


def share(pull: Pull, line: Sequence[Pull], num_ready: int, room: Callable[[Pull], int]) -> int:
    """How many of `num_ready` groups are for `pull`: dealt in turn to all who have room, whoever asks first.

    A pull that does not stand in line comes last.
    """
    able = [each for each in line if each is not pull and room(each)]
    able.insert(sum(each in able for each in line[: line.index(pull)]) if pull in line else len(able), pull)
    place = able.index(pull)
    return max(0, min(math.ceil((num_ready - place) / len(able)), room(pull)))
