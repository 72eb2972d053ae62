"""Runs as the store knows them: what happened to them (`history`), and `runs/<run>/run.pb`, their state.

    an event   is kept in the history, then changes the state, then the state is stored
    progress   changes the state alone, which is stored once a second at most

The store is the only memory: a restarted trainer lists it and continues what had not ended. A trainer that died between
an event and the state takes the event in when it opens the run again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from retrograde.core.problem import Cost
from retrograde.runtime import metrics
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import NotFoundError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from retrograde.wire.convert import cost_to_proto
from services.trainer.fence import Fence
from services.trainer.history import History, number_of, rebuilt, stage_of, take_in

_OUTCOMES = {
    run_pb2.RUN_STATE_SUCCEEDED: "succeeded",
    run_pb2.RUN_STATE_FAILED: "failed",
    run_pb2.RUN_STATE_CANCELLED: "cancelled",
}
ENDED = tuple(_OUTCOMES)
TRAINER = "trainer"
_SAVE_EVERY_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_log = get_logger(__name__)
_RUNS = metrics.counter("trainer", "runs_total", "Runs that ended", ("outcome",))
for _outcome in _OUTCOMES.values():
    _RUNS.labels(_outcome)  # at 0, or nobody sees the first one rise


def now() -> Timestamp:
    """The time of day as a message."""
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


def run_key(run_id: str) -> str:
    """Where a run's state is stored."""
    return f"runs/{run_id}/run.pb"


def load_run(store: ObjectStore, run_id: str) -> run_pb2.Run:
    """The stored state, with what its history knows beyond it. Raises NotFoundError."""
    history = History(store, run_id)
    try:
        run = run_pb2.Run.FromString(store.get(run_key(run_id)))
    except NotFoundError as error:
        events = history.read()
        if not events:
            raise NotFoundError(
                f"run_id: {run_id!r} is unknown in this store; list the runs to see their names"
            ) from error
        return rebuilt(run_id, events)
    if history.is_overtaken(run):
        return rebuilt(run_id, history.read())
    for event in history.read(run.num_events):
        take_in(run, event)
    return run


def list_runs(store: ObjectStore) -> Iterator[run_pb2.Run]:
    """Every stored run with what its history knows beyond it, also one whose trainer died right after an event."""
    for run, is_behind in _as_stored(store):
        yield load_run(store, run.id) if is_behind else run


def unsettled(store: ObjectStore) -> list[str]:
    """Runs that have not ended by their stored state, or whose history knows more than that."""
    return [run.id for run, is_behind in _as_stored(store) if is_behind or run.state not in ENDED]


def _as_stored(store: ObjectStore) -> Iterator[tuple[run_pb2.Run, bool]]:
    """(state, whether its history goes beyond it)."""
    stored: set[str] = set()
    told: dict[str, int] = {}  # the last event's number
    for key in store.list("runs/"):
        _, run_id, *rest = key.split("/")
        if rest == ["run.pb"]:
            stored.add(run_id)
        elif rest[:1] == ["history"]:
            told[run_id] = max(told.get(run_id, 0), number_of(rest[-1]))
    for run_id in sorted(stored | told.keys()):
        data = store.get(run_key(run_id)) if run_id in stored else b""
        run = run_pb2.Run.FromString(data) if data else run_pb2.Run(id=run_id)
        yield run, run.num_events < told.get(run_id, 0)


@dataclass(slots=True)
class RunRecord:
    """One run's state with its watchers. Raises FencedError once another trainer has the store.

    What is kept is kept in order and to its end, also when the caller is cancelled meanwhile; a store that is away or
    full is waited for.
    """

    store: ObjectStore
    run: run_pb2.Run
    fence: Fence | None = None
    _history: History = field(init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _saved_at: float = 0.0
    _num_saves: int = 0
    _stage_began: float = 0.0
    _earlier_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._history = History(self.store, self.run.id)
        if self.fence:
            self.run.trainer = self.fence.name
            self._history = History(self.store, self.run.id, self.fence.name)

    async def tell(self, event: run_pb2.RunEvent, by: str = TRAINER) -> None:
        """Keeps the event and changes the state as it says."""
        event.by = by
        await _to_its_end(self._tell(event))

    async def events(self) -> list[run_pb2.RunEvent]:
        """All that was told of the run, by whatever trainer. Raises UnavailableError."""
        return await in_thread(self._history.read)

    async def create(self, created: run_pb2.RunCreated, by: str) -> None:
        """Keeps a new run. Raises UnavailableError while the store is away: then it may be there or not."""
        event = run_pb2.RunEvent(number=1, at=now(), by=by, created=created)
        await _to_its_end(in_thread(self._append, event))
        take_in(self.run, event)
        await self.settled()

    async def check(self) -> None:
        """Returns if the store is this trainer's."""
        await self._patiently(lambda: in_thread(self._check))

    async def settled(self) -> None:
        """Returns once all that was told is kept, and the state with it."""
        await _to_its_end(self._save_in_turn())

    async def begin(self, name: str, unit: str) -> run_pb2.Stage:
        """The stage called `name`, now running."""
        await self.tell(run_pb2.RunEvent(stage_began=run_pb2.StageBegan(name=name, unit=unit)))
        stage = stage_of(self.run, name)
        self._stage_began, self._earlier_seconds = time.monotonic(), stage.cost.wall_seconds
        return stage

    async def progress(self, stage: run_pb2.Stage, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` units; `detail` is one line for people."""
        stage.done, stage.total, stage.detail = done, total, detail
        stage.cost.wall_seconds = self._worked_seconds()
        if time.monotonic() - self._saved_at > _SAVE_EVERY_SECONDS:
            await self.settled()

    async def finish(self, stage: run_pb2.Stage, cost: Cost) -> None:
        """The stage is done and will not be run again."""
        cost.wall_seconds = self._worked_seconds()
        finished = run_pb2.Stage()
        finished.CopyFrom(stage)
        finished.state = run_pb2.RUN_STATE_SUCCEEDED
        finished.finished_at.CopyFrom(now())
        finished.cost.CopyFrom(cost_to_proto(cost))
        await self.tell(run_pb2.RunEvent(stage_finished=run_pb2.StageFinished(stage=finished)))

    async def end(self, state: run_pb2.RunState.ValueType, error: str = "", by: str = TRAINER) -> None:
        """The whole run has ended, and with it the stages at work."""
        ended = run_pb2.RunEnded(state=state, error=error)
        ended.stages.extend(stage for stage in self.run.stages if stage.state == run_pb2.RUN_STATE_RUNNING)
        for stage in ended.stages:
            stage.state = state
        await self.tell(run_pb2.RunEvent(ended=ended), by)
        _RUNS.labels(_OUTCOMES[state]).inc()

    async def watch(self, drain: asyncio.Event) -> AsyncIterator[run_pb2.Run]:
        """The run now and after each change, until it ends. The first save after `drain` is its last.

        Raises UnavailableError when it was sent away.
        """
        seen = -1
        while True:
            async with self._changed:
                while self._num_saves <= seen and not drain.is_set():
                    await self._changed.wait()
            if self._num_saves <= seen:
                raise UnavailableError("this process is draining; watch again, another answers")
            seen = self._num_saves
            yield self.run
            if self.run.state in ENDED:
                return

    async def _tell(self, event: run_pb2.RunEvent) -> None:
        async with self._turn:
            event.number = self.run.num_events + 1
            event.at.CopyFrom(now())
            await self._patiently(lambda: in_thread(self._append, event))
            take_in(self.run, event)
            await self._save()

    async def _save_in_turn(self) -> None:
        async with self._turn:
            await self._save()

    async def _save(self) -> None:
        """Stores the state; wakes the watchers, also when another trainer has the store."""
        data = self.run.SerializeToString()
        try:
            await self._patiently(lambda: in_thread(self._put, data))
            self._saved_at = time.monotonic()
            self._num_saves += 1
        finally:
            async with self._changed:
                self._changed.notify_all()

    def _append(self, event: run_pb2.RunEvent) -> None:
        self._check()
        self._history.append(event)

    def _put(self, data: bytes) -> None:
        self._check()
        self.store.put(run_key(self.run.id), data)

    def _check(self) -> None:
        if self.fence:
            self.fence.check()

    async def _patiently(self, put: Callable[[], Awaitable[None]]) -> None:
        """Waits for a store that is away or full: no run fails for it."""
        while True:
            try:
                await put()
            except UnavailableError as error:
                _log.warning("a run's state is not saved yet", run_id=self.run.id, reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return

    def _worked_seconds(self) -> float:
        """Seconds in the stage over all lives of this trainer; the time between them does not count."""
        return self._earlier_seconds + time.monotonic() - self._stage_began


async def _to_its_end(work: Awaitable[None]) -> None:
    """Awaits `work`, which goes on when this is cancelled: a put that runs in a thread cannot be taken back."""
    await asyncio.shield(asyncio.ensure_future(work))
