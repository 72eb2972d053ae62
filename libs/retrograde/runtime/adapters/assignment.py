"""Which member of a group holds which partition: sticky and balanced.

A partition stays with its holder unless that holder left or has more than its share; only what must move, moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def assign(num_partitions: int, members: Sequence[str], held: Mapping[int, str]) -> dict[int, str]:
    """Partition -> member, loads differing by at most one; {} without members.

    `held` is the assignment so far; partitions and members it names may be gone. Deterministic in its arguments.
    """
    if not members:
        return {}
    share, extra = divmod(num_partitions, len(members))
    kept: dict[str, list[int]] = {member: [] for member in sorted(members)}
    for partition in range(num_partitions):
        if (member := held.get(partition, "")) in kept:
            kept[member].append(partition)
    # Whoever holds most may keep the larger shares: fewer partitions move.
    by_load = sorted(kept, key=lambda member: (-len(kept[member]), member))
    shares = {member: share + (rank < extra) for rank, member in enumerate(by_load)}
    result = {partition: member for member in by_load for partition in kept[member][: shares[member]]}
    free = iter(partition for partition in range(num_partitions) if partition not in result)
    for member in by_load:
        for _ in range(shares[member] - len(kept[member])):
            result[next(free)] = member
    return result
