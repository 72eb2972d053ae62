"""Runs stage after stage, remembers in the store what is done, and continues after a restart.

create  -> the run is stored, a task begins
task    -> for each stage of the plan that is not done: its turn at the served policy, begin, run, finish
cancel  -> the task ends, then the jobs, however long they take, then the run is CANCELLED; created again, it goes on
restart -> every stored run that had not ended gets its task again
fenced  -> another trainer began on this store (fence.py): all is left to it, and this process ends

Creating and cancelling one run happen one after the other, and to their end also when the caller leaves; runs do not
wait for each other but for the served policy.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrograde.recipe.recipe import Recipe, RecipeError, parse_recipe
from retrograde.runtime import metrics
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Broker
from retrograde.runtime.errors import (
    ConflictError,
    FencedError,
    InvalidInputError,
    NotFoundError,
    RetrogradeError,
    UnavailableError,
)
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from retrograde.wire.clients import InferenceClient, VerifierClient
from retrograde.wire.topics import cancelled_key
from services.trainer.fence import Fence
from services.trainer.jobs import end_jobs
from services.trainer.launch import LaunchBackend
from services.trainer.runs import ENDED, RunRecord, list_runs, load_run, unsettled
from services.trainer.settings import TrainerSettings
from services.trainer.stages.plan import plan
from services.trainer.stages.search import weights_of
from services.trainer.stages.stage import RunContext, Stage
from services.trainer.stages.training import publishes
from services.trainer.turns import PolicyTurns
from services.trainer.waiting import either, patiently, tell_wait

_log = get_logger(__name__)
_PAUSE_SECONDS = 2.0
_LOOK_EVERY_SECONDS = 5.0
_RUNNING = metrics.gauge("trainer", "runs_running", "Runs at work")


@dataclass(slots=True)
class Controller:
    """All runs of this trainer."""

    settings: TrainerSettings
    store: ObjectStore
    broker: Broker
    policy: InferenceClient
    verifier: VerifierClient
    backend: LaunchBackend
    plan: Callable[[Recipe], Sequence[Stage]] = plan
    _turns: PolicyTurns = field(default_factory=PolicyTurns)
    _records: dict[str, RunRecord] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _under_way: set[asyncio.Task[run_pb2.Run]] = field(default_factory=set)
    _fence: Fence = field(init=False)
    _has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    _is_stopping: bool = False
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    def __post_init__(self) -> None:
        self._fence = Fence(self.store)

    async def work(self, drain: asyncio.Event) -> None:
        """Continues the stored runs that had not ended; on drain stops all where they are.

        Raises FencedError when another trainer has begun on this store: then nothing is told or stored any more.
        """
        try:
            while not (drain.is_set() or await self._took_up_all()):
                await either(drain, _PAUSE_SECONDS)
            while not drain.is_set():
                await self._check()
                await either(drain, _LOOK_EVERY_SECONDS)
        finally:
            drain.set()
            await self._stop()

    async def _check(self) -> None:
        with contextlib.suppress(UnavailableError):  # nobody else began meanwhile, or the next look tells
            await in_thread(self._fence.check)

    async def _stop(self) -> None:
        self._is_stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._under_way, return_exceptions=True)
        for record in list(self._records.values()):
            with contextlib.suppress(FencedError):
                await record.settled()  # this sends its watchers away

    async def create(self, run_id: str, recipe_yaml: str, by: str) -> run_pb2.Run:
        """The run, new or found. Raises ConflictError for another recipe, InvalidInputError for a wrong one."""
        recipe = _parse(recipe_yaml)
        names = [stage.name for stage in self.plan(recipe)]
        created = run_pb2.RunCreated(recipe_hash=recipe.hash, recipe_yaml=recipe_yaml, plan=names)
        return await self._carried_through(self._create(run_id, created, by))

    async def record(self, run_id: str) -> RunRecord:
        """The run's state with its watchers. Raises NotFoundError."""
        if run_id in self._records:
            return self._records[run_id]  # also while it is being cancelled, which may take as long as its jobs
        async with self._locks[run_id]:
            return await self._open(run_id)

    async def history(self, run_id: str) -> list[run_pb2.RunEvent]:
        """All that happened to it. Raises NotFoundError."""
        return await (await self.record(run_id)).events()

    async def report(self, run_id: str) -> tuple[bytes, bytes]:
        """(report.json, report.html) as they are stored. Raises NotFoundError."""
        await self.record(run_id)
        keys = [f"runs/{run_id}/report.{ending}" for ending in ("json", "html")]
        try:
            json, html = [await in_thread(self.store.get, key) for key in keys]
        except NotFoundError as error:
            raise NotFoundError(f"run_id: {run_id!r} has no report yet; its last stage makes it") from error
        return json, html

    async def list(self, state: int, page_size: int, page_token: str) -> tuple[list[run_pb2.Run], str]:
        """(runs of the store in that state, newest first; the token of the next page). 0: any state, no limit."""
        runs = await in_thread(lambda: list(list_runs(self.store)))
        runs.sort(key=lambda run: (run.created_at.ToNanoseconds(), run.id), reverse=True)
        runs = runs[_position_after(runs, page_token) :]
        found = [run for run in runs if state in (run_pb2.RUN_STATE_UNSPECIFIED, run.state)]
        page = found[:page_size] if page_size else found
        return page, page[-1].id if len(page) < len(found) else ""

    async def cancel(self, run_id: str, by: str) -> run_pb2.Run:
        """Stops the run where it is, and its jobs; one that has ended stays as it ended."""
        return await self._carried_through(self._cancel(run_id, by))

    async def _carried_through(self, change: Coroutine[Any, Any, run_pb2.Run]) -> run_pb2.Run:
        """What `change` returns; once begun it goes on to its end, whatever becomes of its caller."""
        task = asyncio.create_task(change)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _create(self, run_id: str, created: run_pb2.RunCreated, by: str) -> run_pb2.Run:
        async with self._locks[run_id]:
            try:
                record = await self._open(run_id)
            except NotFoundError:
                return await self._begin(run_id, created, by)
            if record.run.recipe_hash != created.recipe_hash:
                raise ConflictError(
                    f"run_id: {run_id!r} belongs to recipe {record.run.recipe_hash}; use another run id"
                )
            if self._rests(record.run):
                await self._continue(record, by)
            return record.run

    async def _begin(self, run_id: str, created: run_pb2.RunCreated, by: str) -> run_pb2.Run:
        record = RunRecord(self.store, run_pb2.Run(id=run_id), self._fence)
        await record.create(created, by)
        self._records[run_id] = record
        self._start(record)
        return record.run

    async def _cancel(self, run_id: str, by: str) -> run_pb2.Run:
        async with self._locks[run_id]:
            record = await self._open(run_id)
            task = self._tasks.pop(run_id, None)
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            await record.settled()
            if record.run.state not in ENDED:
                await self._persistently(lambda: self._end_jobs(record))
                await self._persistently(lambda: in_thread(self.store.put, cancelled_key(run_id), b""))
                await record.end(run_pb2.RUN_STATE_CANCELLED, by=by)
            return record.run

    async def _open(self, run_id: str) -> RunRecord:
        await self._has_begun.wait()
        if run_id not in self._records:
            run = await in_thread(load_run, self.store, run_id)
            self._records[run_id] = RunRecord(self.store, run, self._fence)
        return self._records[run_id]

    async def _took_up_all(self) -> bool:
        """Whether the store could be read, and every run in it that had not ended goes on."""
        try:
            if not self._has_begun.is_set():
                await in_thread(self._fence.begin)
                self._has_begun.set()
            for run_id in await in_thread(unsettled, self.store):
                await self._take_up(run_id)
        except UnavailableError as error:
            _log.warning("the store is away; its runs wait", reason=str(error))
            return False
        return True

    async def _take_up(self, run_id: str) -> None:
        async with self._locks[run_id]:
            record = await self._open(run_id)
            if record.run.state in ENDED:
                await record.settled()  # its end was told and the state not stored
            elif self._rests(record.run):
                await self._continue(record, "trainer, restarted")

    def _rests(self, run: run_pb2.Run) -> bool:
        """Whether nobody works on a run that has more to do."""
        if run.state == run_pb2.RUN_STATE_RUNNING:
            return run.id not in self._tasks or self._tasks[run.id].done()
        return run.state != run_pb2.RUN_STATE_SUCCEEDED

    async def _continue(self, record: RunRecord, by: str) -> None:
        await record.tell(run_pb2.RunEvent(continued=run_pb2.RunContinued()), by)
        self._start(record)

    def _start(self, record: RunRecord) -> None:
        if not self._is_stopping:  # else the next life starts it
            self._tasks[record.run.id] = asyncio.create_task(self._run(record))

    async def _run(self, record: RunRecord) -> None:
        with _RUNNING.track_inprogress():
            try:
                await self._run_or_fail(record)
            except FencedError as error:
                _log.error("run left to another trainer", run_id=record.run.id, reason=str(error))

    async def _run_or_fail(self, record: RunRecord) -> None:
        try:
            await self._run_stages(record)
        except FencedError:
            raise
        except RetrogradeError as error:
            await self._fail(record, str(error))
        except Exception as error:  # noqa: BLE001  the run's owner must learn of any fault, and the service goes on
            _log.exception("fault", run_id=record.run.id)
            await self._fail(record, f"{type(error).__name__}: {error}")

    async def _fail(self, record: RunRecord, error: str) -> None:
        _log.error("run failed", run_id=record.run.id, error=error)
        await self._persistently(lambda: self._end_jobs(record))
        await record.end(run_pb2.RUN_STATE_FAILED, error)

    async def _end_jobs(self, record: RunRecord) -> None:
        await record.check()  # else they are another trainer's
        await end_jobs(self.backend, record.run.id, record)

    async def _persistently(self, change: Callable[[], Awaitable[None]]) -> None:
        """Makes the change as often as it takes: nobody else would end that run. Raises UnavailableError on drain."""
        while True:
            try:
                return await change()
            except UnavailableError as error:
                if self._is_stopping:
                    raise
                _log.warning("a run's end waits", reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _run_stages(self, record: RunRecord) -> None:
        recipe = _parse(record.run.recipe_yaml)
        context = RunContext(
            run_id=record.run.id,
            recipe=recipe,
            settings=self.settings,
            store=self.store,
            broker=self.broker,
            policy=self.policy,
            verifier=self.verifier,
            backend=self.backend,
            history=record,
        )
        done = {stage.name for stage in record.run.stages if stage.state == run_pb2.RUN_STATE_SUCCEEDED}
        for stage in self.plan(recipe):
            if stage.name not in done:
                await self._run_stage(stage, context, record)
        await record.end(run_pb2.RUN_STATE_SUCCEEDED)

    async def _run_stage(self, stage: Stage, context: RunContext, record: RunRecord) -> None:
        state = await record.begin(stage.name, stage.unit)
        if not stage.serves:
            await _work(stage, state, context, record)
            return
        key = context.key("checkpoints", stage.serves)
        weights = await patiently(lambda: in_thread(weights_of, context.store, key), state, record)
        if self._turns.must_wait(weights):
            await tell_wait(record, state, "another run's weights are served")

        async def in_turn() -> None:
            async with self._turns.hold(weights):
                await self._check_pool(record.run.id)
                await _work(stage, state, context, record)

        await patiently(in_turn, state, record)

    async def _check_pool(self, run_id: str) -> None:
        """Raises UnavailableError while another run's job publishes to the pool: jobs outlive their stage's turn."""
        for handle in await self.backend.running():
            if handle.run_id != run_id and publishes(handle):
                raise UnavailableError(f"another run's job has the inference pool: {handle.name} of {handle.run_id}")


async def _work(stage: Stage, state: run_pb2.Stage, context: RunContext, record: RunRecord) -> None:
    """Runs the stage until it is done."""

    async def progress(done: int, total: int, detail: str) -> None:
        await record.progress(state, done, total, detail)

    cost = await patiently(lambda: stage.run(context, progress), state, record)
    await record.finish(state, cost)


def _position_after(runs: Sequence[run_pb2.Run], run_id: str) -> int:
    """Where the runs after `run_id` begin; "" is before the first."""
    if not run_id:
        return 0
    for i, run in enumerate(runs):
        if run.id == run_id:
            return i + 1
    raise InvalidInputError(f"page_token: {run_id!r} is none of this store; begin again with an empty one")


def _parse(recipe_yaml: str) -> Recipe:
    try:
        return parse_recipe(recipe_yaml)
    except RecipeError as error:
        raise InvalidInputError(str(error)) from error
