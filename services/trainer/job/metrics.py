"""What a step leaves to read: one small JSON object per optimiser step, and whoever else is told (trackers.py).

Names are TRL's where TRL has one. Objects are named by the step, so a step done again after a crash leaves one object.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from services.trainer.job.ranks import Ranks
from services.trainer.job.settings import JobSettings
from services.trainer.job.trackers import Step, Tracker, open_trackers

log = get_logger(__name__)
_LOGGED_AT = "logged_at_seconds"


class StepMetrics:
    """Writes `job_key/steps/000012.json` for step 12, counted from 1. A context manager."""

    def __init__(self, store: ObjectStore, settings: JobSettings, *, writes: bool = True) -> None:
        self._store = store
        self._settings = settings
        self._prefix = f"{settings.job_key}/steps/"
        self._writes = writes
        self._trackers: list[Tracker] | None = None

    @classmethod
    def of_rank(cls, ranks: Ranks, store: ObjectStore, settings: JobSettings) -> Self:
        """The first rank writes, the others do not."""
        return cls(store, settings, writes=ranks.is_first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self._trackers or ():
            _closed(tracker, failed=error is not None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Stores the values of `step` and tells the trackers."""
        if not self._writes:
            return
        if self._trackers is None:
            self._trackers = open_trackers(self._store, self._settings, self._before(step))
        now = time.time()
        record = {"step": step, **values, _LOGGED_AT: now}
        self._store.put(f"{self._prefix}{step:06d}.json", json.dumps(record).encode())
        self._trackers = [tracker for tracker in self._trackers if _told(tracker, Step(step, values, now))]

    def _before(self, step: int) -> Iterator[Step]:
        """The stored steps before this one."""
        for key in self._store.list(self._prefix):
            if int(key.removeprefix(self._prefix).removesuffix(".json")) < step:
                record = json.loads(self._store.get(key))
                number, at = int(record.pop("step")), float(record.pop(_LOGGED_AT, 0.0))
                yield Step(number, record, at)


def _told(tracker: Tracker, step: Step) -> bool:
    """Whether it took the step; one that fails is told no more, and the training goes on."""
    try:
        tracker.log(step)
    except Exception as error:  # noqa: BLE001  a tracker's server may be away in ways of its own
        log.warning("a tracker failed and is told no more", tracker=type(tracker).__name__, reason=str(error))
        return False
    return True


def _closed(tracker: Tracker, *, failed: bool) -> None:
    """Tells it the end; where that fails, what was trained stands all the same: the job has its steps in the store."""
    try:
        tracker.close(failed=failed)
    except Exception as error:  # noqa: BLE001  as above
        log.warning("a tracker failed at the end", tracker=type(tracker).__name__, reason=str(error))
