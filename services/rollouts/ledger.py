"""The durable state of a feed: events, and now and then a snapshot of what they came to.

    <feed>/ledger/000000412-000003.json       events of one change, stored before they take effect
    <feed>/snapshots/000000400-000003.json    the state before change 400

A restarted service takes the newest snapshot and the changes from its number on. A snapshot is stored whole before
anything that it covers is deleted, a few objects with each later change, so a kill at any point leaves either the old
state or the new one, and what is left over is deleted by the next life.

One process at a time writes a feed. Each is a life with a number of its own, which it stores before anything else: what
an earlier one had on its way to the store may arrive when the next one has begun, under a name that nobody else takes.
It was never in effect and is passed over.
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
    _life: int = 0
    _snapshot_key: str = ""
    _change_keys: list[str] = field(default_factory=list)  # since that snapshot
    _covered_keys: deque[str] = field(default_factory=deque)

    def replay(self) -> None:
        """Takes up what earlier lives stored."""
        snapshots = sorted(self.store.list(f"{self.prefix}/snapshots/"), key=_place)
        if snapshots:
            self._snapshot_key = snapshots.pop()
            self.num_changes, self._life = _place(self._snapshot_key)
            self.tickets.restore(json.loads(self.store.get(self._snapshot_key)))
            self._covered_keys.extend(snapshots)
        for key in sorted(self.store.list(f"{self.prefix}/ledger/"), key=_newest_life_first):
            number, life = _place(key)
            if number < self.num_changes or life < self._life:
                self._covered_keys.append(key)
                continue
            for event in json.loads(self.store.get(key)):
                self.tickets.apply(event)
            self.num_changes, self._life = number + 1, life
            self._change_keys.append(key)

    def begin_life(self) -> None:
        """To be called once after `replay`, before anything is appended: from here on earlier lives change nothing."""
        self._life += 1
        self.append([])

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Stores the events of one change; whoever calls lets them take effect then.

        When the store fails the number is not taken again: what was put may still appear.
        """
        self._tidy()
        self._change_keys.append(f"{self.prefix}/ledger/{self._name()}")
        self.num_changes += 1
        self.store.put(self._change_keys[-1], json.dumps(events).encode())

    def _tidy(self) -> None:
        if len(self._change_keys) >= self.compact_every:
            self._compact()
        for _ in range(min(_DELETED_PER_CHANGE, len(self._covered_keys))):
            self.store.delete(self._covered_keys[0])
            self._covered_keys.popleft()

    def _compact(self) -> None:
        key = f"{self.prefix}/snapshots/{self._name()}"
        self.store.put(key, json.dumps(self.tickets.snapshot()).encode())
        self._covered_keys.extend([self._snapshot_key] if self._snapshot_key else [])
        self._covered_keys.extend(self._change_keys)
        self._change_keys.clear()
        self._snapshot_key = key

    def _name(self) -> str:
        return f"{self.num_changes:09d}-{self._life:06d}.json"


def _place(key: str) -> tuple[int, int]:
    """Number of the change, and life; 0 for those from before lives had numbers."""
    number, _, life = key.rpartition("/")[2].removesuffix(".json").partition("-")
    return int(number), int(life or 0)


def _newest_life_first(key: str) -> tuple[int, int]:
    number, life = _place(key)
    return number, -life
