"""Which delivered messages are done: what a worker may commit, per partition and without a gap."""

from __future__ import annotations

import enum
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrograde.runtime.broker import Message


class Delivery(enum.Enum):
    """What a delivery is to the member that got it."""

    FIRST = "first"
    AGAIN = "again"  # it had it before, and it is not in its hands any more
    IN_HAND = "in_hand"  # being handled, or done and not committed


class Ledger:
    """begin -> done -> committable -> committed, for messages that end in any order."""

    def __init__(self) -> None:
        self._open: defaultdict[int, dict[int, Message]] = defaultdict(dict)
        self._done: defaultdict[int, dict[int, Message]] = defaultdict(dict)
        self._next: defaultdict[int, int] = defaultdict(int)

    def __len__(self) -> int:
        """Messages in hand."""
        return sum(map(len, self._open.values())) + sum(map(len, self._done.values()))

    @property
    def partitions(self) -> set[int]:
        """Those of which something is in hand."""
        return {part for each in (self._open, self._done) for part, messages in each.items() if messages}

    def begin(self, message: Message) -> Delivery:
        """Notes a delivery; what is in hand already stays as it is."""
        part, offset = message.partition, message.offset
        if offset in self._open[part] or offset in self._done[part]:
            return Delivery.IN_HAND
        self._open[part][offset] = message
        is_first = offset >= self._next[part]
        self._next[part] = max(self._next[part], offset + 1)
        return Delivery.FIRST if is_first else Delivery.AGAIN

    def done(self, message: Message) -> None:
        """`message` was handled or dead-lettered."""
        if self._open[message.partition].pop(message.offset, None) is not None:
            self._done[message.partition][message.offset] = message

    def committable(self) -> list[Message]:
        """For each partition with news, the last message below which everything is done."""
        found = []
        for part, done in self._done.items():
            first_open = min(self._open[part], default=None)
            ready = [offset for offset in done if first_open is None or offset < first_open]
            if ready:
                found.append(done[max(ready)])
        return found

    def committed(self, message: Message) -> None:
        """The partition is committed up to and including `message`."""
        part = message.partition
        self._done[part] = {offset: each for offset, each in self._done[part].items() if offset > message.offset}

    def forget(self, partition: int) -> None:
        """The partition went to another member; what is done there is delivered again to it."""
        self._open.pop(partition, None)
        self._done.pop(partition, None)
