"""Runs as the store knows them: `runs/<run>/run.pb`, rewritten at every change.

The store is the only memory: a restarted trainer lists it and continues what had not ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from retrograde.core.problem import Cost
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import NotFoundError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from retrograde.wire.convert import cost_to_proto

ENDED = (run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED)
_SAVE_EVERY_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_log = get_logger(__name__)


def now() -> Timestamp:
    """The time of day as a message."""
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


def run_key(run_id: str) -> str:
    """Where a run's state is stored."""
    return f"runs/{run_id}/run.pb"


def load_run(store: ObjectStore, run_id: str) -> run_pb2.Run:
    """The stored state. Raises NotFoundError."""
    try:
        return run_pb2.Run.FromString(store.get(run_key(run_id)))
    except NotFoundError as error:
        raise NotFoundError(f"run_id: {run_id!r} is unknown in this store; list the runs to see their names") from error


def list_runs(store: ObjectStore) -> Iterator[run_pb2.Run]:
    """Every stored run."""
    for key in store.list("runs/"):
        if key.endswith("/run.pb") and key.count("/") == run_key("x").count("/"):
            yield run_pb2.Run.FromString(store.get(key))


@dataclass(slots=True)
class RunRecord:
    """One run's state with its watchers. Progress is saved at most once a second; changes of state at once.

    `save` raises UnavailableError while the store is away or full; the others wait for it.
    """

    store: ObjectStore
    run: run_pb2.Run
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _saved_at: float = 0.0
    _num_saves: int = 0
    _stage_began: float = 0.0
    _earlier_seconds: float = 0.0

    async def begin(self, name: str, unit: str) -> run_pb2.Stage:
        """The stage called `name`, now running."""
        stage = self._stage(name)
        stage.unit = unit
        stage.state = run_pb2.RUN_STATE_RUNNING
        if not stage.HasField("started_at"):
            stage.started_at.CopyFrom(now())
        self._stage_began, self._earlier_seconds = time.monotonic(), stage.cost.wall_seconds
        await self._keep()
        return stage

    async def progress(self, stage: run_pb2.Stage, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` units; `detail` is one line for people."""
        stage.done, stage.total, stage.detail = done, total, detail
        stage.cost.wall_seconds = self._worked_seconds()
        if time.monotonic() - self._saved_at > _SAVE_EVERY_SECONDS:
            await self._keep()

    async def finish(self, stage: run_pb2.Stage, cost: Cost) -> None:
        """The stage is done and will not be run again."""
        stage.state = run_pb2.RUN_STATE_SUCCEEDED
        stage.finished_at.CopyFrom(now())
        cost.wall_seconds = self._worked_seconds()
        stage.cost.CopyFrom(cost_to_proto(cost))
        await self._keep()

    async def end(self, state: run_pb2.RunState.ValueType, error: str = "") -> None:
        """The whole run has ended."""
        self.run.state = state
        self.run.error = error
        for stage in self.run.stages:
            if stage.state == run_pb2.RUN_STATE_RUNNING:
                stage.state = state
        await self._keep()

    async def save(self) -> None:
        """Stores the state and wakes the watchers."""
        await in_thread(self.store.put, run_key(self.run.id), self.run.SerializeToString())
        self._saved_at = time.monotonic()
        self._num_saves += 1
        async with self._changed:
            self._changed.notify_all()

    async def _keep(self) -> None:
        """Saves, waiting for a store that is away or full: no run fails for it."""
        while True:
            try:
                await self.save()
            except UnavailableError as error:
                _log.warning("a run's state is not saved yet", run_id=self.run.id, reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    async def watch(self) -> AsyncIterator[run_pb2.Run]:
        """The run now and after each change, until it ends."""
        seen = -1
        while True:
            async with self._changed:
                while self._num_saves <= seen:
                    await self._changed.wait()
            seen = self._num_saves
            yield self.run
            if self.run.state in ENDED:
                return

    def _worked_seconds(self) -> float:
        """Seconds in the stage over all lives of this trainer; the time between them does not count."""
        return self._earlier_seconds + time.monotonic() - self._stage_began

    def _stage(self, name: str) -> run_pb2.Stage:
        for stage in self.run.stages:
            if stage.name == name:
                return stage
        return self.run.stages.add(name=name)
