"""Which trainer a store belongs to: the one that began last. Each is one object, `trainers/<number>-<life>`.

    begin   takes the next number: whoever began before is fenced from now on
    check   raises FencedError where another has begun since

A store has no conditional put: of two that begin at once under one number the later name has it. Whoever was stalled
may still finish the put that it was about to make; histories tell by the name that it came too late.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from retrograde.runtime.errors import FencedError
from retrograde.runtime.objects import ObjectStore

_PREFIX = "trainers/"


@dataclass(slots=True)
class Fence:
    """Of one trainer; `name` is empty before `begin`. Calls block."""

    store: ObjectStore
    name: str = ""
    _life: str = field(default_factory=lambda: secrets.token_hex(4))

    def begin(self) -> None:
        """Takes the store over. Raises FencedError when another did so at the same time."""
        earlier = self._names()
        number = 1 + max((int(name.partition("-")[0]) for name in earlier), default=0)
        self.name = f"{number:06d}-{self._life}"
        self.store.put(f"{_PREFIX}{self.name}", b"")
        for name in earlier:
            self.store.delete(f"{_PREFIX}{name}")
        self.check()

    def check(self) -> None:
        """Raises FencedError unless this is still the trainer that began last."""
        newest = max(self._names(), default="")
        if newest > self.name:
            raise FencedError(f"trainer {self.name}: trainer {newest} has taken the store over; run one for each store")

    def _names(self) -> list[str]:
        return [key.removeprefix(_PREFIX) for key in self.store.list(_PREFIX)]
