"""The durable state of a feed: events, and now and then a snapshot of what they came to.

    <feed>/ledger/000000412.json       events of one change, stored before they take effect
    <feed>/snapshots/000000400.json    the state before change 400

A restarted service takes the newest snapshot and the changes from its number on. A snapshot is stored whole before
anything that it covers is deleted, a few objects with each later change, so a kill at any point leaves either the old
state or the new one, and what is left over is deleted by the next life. One process at a time writes a feed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrograde.runtime.objects import ObjectStore
from services.rollouts.tickets import Tickets

_DELETED_PER_CHANGE = 4


@dataclass(slots=True)
class Ledger:
    """Keeps `tickets` in `store`. Calls block; one at a time."""

    store: ObjectStore
    prefix: str
    tickets: Tickets
    compact_every: int = 256
    num_changes: int = 0
    _num_covered: int = 0
    _covered_keys: deque[str] = field(default_factory=deque)

    def replay(self) -> None:
        """Takes up what earlier lives stored."""
        snapshots = list(self.store.list(f"{self.prefix}/snapshots/"))
        if snapshots:
            self.num_changes = self._num_covered = _number(snapshots[-1])
            self.tickets.restore(json.loads(self.store.get(snapshots[-1])))
            self._covered_keys.extend(snapshots[:-1])
        for key in self.store.list(f"{self.prefix}/ledger/"):
            if _number(key) < self._num_covered:
                self._covered_keys.append(key)
                continue
            for event in json.loads(self.store.get(key)):
                self.tickets.apply(event)
            self.num_changes = _number(key) + 1

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Stores the events of one change; whoever calls lets them take effect then.

        When the store fails the number is not taken again: what was put may still appear.
        """
        self._tidy()
        self.num_changes += 1
        self.store.put(self._change_key(self.num_changes - 1), json.dumps(events).encode())

    def _tidy(self) -> None:
        if self.num_changes - self._num_covered >= self.compact_every:
            self._compact()
        for _ in range(min(_DELETED_PER_CHANGE, len(self._covered_keys))):
            self.store.delete(self._covered_keys[0])
            self._covered_keys.popleft()

    def _compact(self) -> None:
        snapshot = json.dumps(self.tickets.snapshot()).encode()
        self.store.put(self._snapshot_key(self.num_changes), snapshot)
        if self._num_covered:
            self._covered_keys.append(self._snapshot_key(self._num_covered))
        self._covered_keys.extend(map(self._change_key, range(self._num_covered, self.num_changes)))
        self._num_covered = self.num_changes

    def _change_key(self, number: int) -> str:
        return f"{self.prefix}/ledger/{number:09d}.json"

    def _snapshot_key(self, number: int) -> str:
        return f"{self.prefix}/snapshots/{number:09d}.json"


def _number(key: str) -> int:
    return int(key.rpartition("/")[2].removesuffix(".json"))
