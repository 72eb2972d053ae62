"""What a step leaves to read: one small JSON object per optimiser step, and TensorBoard where asked for.

Names are TRL's where TRL has one. Objects are named by the step, so a step done again after a crash leaves one object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from retrograde.runtime.objects import ObjectStore
from services.trainer.job.ranks import Ranks
from services.trainer.job.settings import JobSettings


class StepMetrics:
    """Writes `job_key/steps/000012.json` for step 12, counted from 1. A context manager."""

    def __init__(self, store: ObjectStore, job_key: str, tensorboard_dir: Path | None, *, writes: bool = True) -> None:
        self._store = store
        self._job_key = job_key
        self._writes = writes
        self._board = SummaryWriter(str(tensorboard_dir)) if tensorboard_dir and writes else None

    @classmethod
    def of_rank(cls, ranks: Ranks, store: ObjectStore, settings: JobSettings) -> Self:
        """The first rank writes, the others do not."""
        return cls(store, settings.job_key, settings.tensorboard_dir, writes=ranks.is_first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board:
            self._board.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Stores the values of `step`."""
        if not self._writes:
            return
        record = {"step": step, **values}
        self._store.put(f"{self._job_key}/steps/{step:06d}.json", json.dumps(record).encode())
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
