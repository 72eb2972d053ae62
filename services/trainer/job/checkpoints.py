"""Between the object store and the scratch of the nodes: starting weights, resumable saves, finished checkpoints.

A resumable save is DeepSpeed's own format under `job_key/state/<step>/`: every node uploads the shards its ranks wrote,
all wait, then the first rank puts COMPLETE.json. A save without it does not exist. The two newest are kept.
A checkpoint is a Hugging Face directory: the starting one's files with new weights and a line on where it came from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.objects import ObjectStore
from services.trainer.job.learner import Learner
from services.trainer.job.outcome import COMPLETE, delete_prefix, state_prefix
from services.trainer.job.ranks import Ranks

NUM_KEPT = 2
_TAG = "state"
_WEIGHTS = {".safetensors", ".bin", ".pt", ".gguf"}
_NOT_CARRIED_OVER = {"MANIFEST.json", "model.safetensors.index.json", "provenance.json"}


def fetch(store: ObjectStore, key: str, folder: Path, ranks: Ranks) -> Path:
    """Downloads the checkpoint at `key` to every node; returns the folder."""
    if ranks.is_first_of_node:
        _empty(folder)
        store.download(key, folder)
    ranks.barrier()
    return folder


def export(learner: Learner, start: Path, folder: Path, provenance: Mapping[str, object]) -> None:
    """Writes the weights as they are now, with the other files of `start`, to `folder` on the first rank's node.

    All ranks call it: sharded weights are gathered.
    """
    engine = learner.engine
    weights = engine._zero3_consolidated_16bit_state_dict() if _is_sharded(engine) else engine.module.state_dict()  # noqa: SLF001 - its public form writes pickles
    if learner.ranks.is_first:
        _empty(folder)
        for path in start.iterdir():
            if path.is_file() and path.suffix not in _WEIGHTS and path.name not in _NOT_CARRIED_OVER:
                shutil.copyfile(path, folder / path.name)
        engine.module.save_pretrained(folder, state_dict=weights)
        (folder / "provenance.json").write_text(json.dumps(provenance, indent=2))
    learner.ranks.barrier()


class Saves:
    """The resumable saves of one job. `position` is what the job needs besides the engine's state, in JSON."""

    def __init__(self, store: ObjectStore, job_key: str, scratch: Path, ranks: Ranks, fingerprint: str) -> None:
        self._store = store
        self._prefix = state_prefix(job_key)
        self._scratch = scratch / "state"
        self._ranks = ranks
        self._fingerprint = fingerprint

    def save(self, learner: Learner, step: int, position: Mapping[str, Any]) -> None:
        """Durable when it returns. All ranks call it."""
        ranks, key = self._ranks, f"{self._prefix}/{step:06d}"
        if ranks.is_first_of_node:
            _empty(self._scratch)
        ranks.barrier()
        learner.engine.save_checkpoint(str(self._scratch), tag=_TAG, save_latest=False)
        if ranks.is_first_of_node:
            (self._scratch / f"node-{ranks.node}").touch()  # without ZeRO only the first node has anything to keep
            self._store.upload(f"{key}/node-{ranks.node}", self._scratch)
        ranks.barrier()
        if ranks.is_first:
            record = {"num_nodes": ranks.num_nodes, "fingerprint": self._fingerprint, "position": position}
            self._store.put(f"{key}/{COMPLETE}", json.dumps(record).encode())
            self._prune(step)

    def restore(self, learner: Learner) -> tuple[int, Mapping[str, Any]]:
        """Brings the engine back to the newest save: (steps done, position); (0, {}) where there is none.

        Raises InvalidInputError when the save is of other settings.
        """
        ranks = self._ranks
        step, record = ranks.broadcast(self._newest() if ranks.is_first else (0, {}))
        if step == 0:
            return 0, {}
        if record["fingerprint"] != self._fingerprint:
            raise InvalidInputError(f"job_key: {self._prefix} holds saves of other settings; use another job_key")
        if ranks.is_first_of_node:
            _empty(self._scratch)
            for node in range(record["num_nodes"]):
                self._store.download(f"{self._prefix}/{step:06d}/node-{node}", self._scratch)
        ranks.barrier()
        learner.engine.load_checkpoint(str(self._scratch), tag=_TAG)
        return step, record["position"]

    def clear(self) -> None:
        """Deletes all saves: the job is done."""
        if self._ranks.is_first:
            delete_prefix(self._store, self._prefix)

    def _steps(self) -> list[int]:
        keys = self._store.list(f"{self._prefix}/")
        return sorted(int(key.split("/")[-2]) for key in keys if key.endswith(f"/{COMPLETE}"))

    def _newest(self) -> tuple[int, Mapping[str, Any]]:
        steps = self._steps()
        if not steps:
            return 0, {}
        return steps[-1], json.loads(self._store.get(f"{self._prefix}/{steps[-1]:06d}/{COMPLETE}"))

    def _prune(self, newest: int) -> None:
        """Deletes all but the newest saves, and what a killed one left behind."""
        kept = {f"{step:06d}" for step in self._steps()[-NUM_KEPT:]} | {f"{newest:06d}"}
        found = {key.removeprefix(f"{self._prefix}/").split("/")[0] for key in self._store.list(f"{self._prefix}/")}
        for name in sorted(found - kept):
            delete_prefix(self._store, f"{self._prefix}/{name}")


def _is_sharded(engine: Any) -> bool:
    return bool(engine.zero_optimization_partition_weights())


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
