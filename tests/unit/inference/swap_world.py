"""A policy server over a fake engine, with three checkpoints in a store, and one that does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrograde.core.policy import InFlight, Prompt, Sampling
from retrograde.runtime.adapters import open_store
from services.inference.serving import Ask, Limits, PolicyServer
from services.inference.swaps import Current, Swaps
from services.inference.weights import Cache, Checkpoints, folder_of
from tests.unit.inference.fakes_inference import FakeEngine, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from retrograde.runtime.objects import ObjectStore

ASK = Ask(Prompt("aab"), Sampling(max_tokens=4))
CHECKPOINTS = ("one", "two", "three")


class World:
    """See the module."""

    def __init__(self, tmp_path: Path) -> None:
        self.first = write_checkpoint(tmp_path / "first")
        self.store: ObjectStore = open_store(f"file://{tmp_path / 'store'}")
        for index, name in enumerate(CHECKPOINTS, start=1):
            self.store.upload(name, write_checkpoint(tmp_path / name, index))
        self.store.upload("odd", write_checkpoint(tmp_path / "odd", shape=(9, 9)))
        self.cache = tmp_path / "cache"
        self.checkpoints = Checkpoints(self.store, "policy", self.first, Cache(self.cache, 9, 1 << 30))
        self.engine = FakeEngine(self.first)
        self.server = self.restarted()

    def restarted(self) -> PolicyServer:
        served, weights = self.checkpoints.start()
        self.engine.loaded = folder_of(weights)
        limits = Limits(max_n=8, max_pending_sequences=16, max_num_seqs=10)
        current = Current(served, weights)
        swaps = Swaps(self.engine, self.checkpoints, self.checkpoints, current, InFlight.FINISH)
        return PolicyServer(self.engine, limits, swaps)

    def name_of(self, key: str) -> str:
        """What the engine answers under that checkpoint."""
        return self.checkpoints.prepare(key).digest
