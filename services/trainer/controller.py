"""Runs stage after stage, remembers in the store what is done, and continues after a restart.

create  -> the run is stored, a task begins
task    -> for each stage of the plan that is not done: begin, run, finish
restart -> every stored run that had not ended gets its task again
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from retrograde.recipe.recipe import Recipe, RecipeError, parse_recipe
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Broker
from retrograde.runtime.errors import ConflictError, InvalidInputError, RetrogradeError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from retrograde.wire.clients import InferenceClient, VerifierClient
from services.trainer.launch import LaunchBackend
from services.trainer.runs import ENDED, RunRecord, list_runs, load_run, now
from services.trainer.settings import TrainerSettings
from services.trainer.stages.plan import plan
from services.trainer.stages.stage import RunContext, Stage

_log = get_logger(__name__)
_PAUSE_SECONDS = 2.0


@dataclass(slots=True)
class Controller:
    """All runs of this trainer."""

    settings: TrainerSettings
    store: ObjectStore
    broker: Broker
    policy: InferenceClient
    verifier: VerifierClient
    backend: LaunchBackend
    _records: dict[str, RunRecord] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def work(self, drain: asyncio.Event) -> None:
        """Continues the stored runs that had not ended; on drain stops all where they are."""
        for run in await in_thread(lambda: list(list_runs(self.store))):
            if run.state not in ENDED and run.id not in self._tasks:
                self._start(run)
        await drain.wait()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def create(self, run_id: str, recipe_yaml: str) -> run_pb2.Run:
        """The run, new or found. Raises ConflictError for another recipe, InvalidInputError for a wrong one."""
        recipe = _parse(recipe_yaml)
        plan(recipe)
        known = await self._find(run_id)
        if known is None:
            run = run_pb2.Run(id=run_id, recipe_hash=recipe.hash, recipe_yaml=recipe_yaml)
            run.state = run_pb2.RUN_STATE_RUNNING
            run.created_at.CopyFrom(now())
            record = self._start(run)
            await record.save()
            return run
        if known.recipe_hash != recipe.hash:
            raise ConflictError(f"run_id: {run_id!r} belongs to recipe {known.recipe_hash}; use another run id")
        if known.state in (run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED):
            known.state, known.error = run_pb2.RUN_STATE_RUNNING, ""
            self._start(known)
        return known

    async def record(self, run_id: str) -> RunRecord:
        """The run's state with its watchers. Raises NotFoundError."""
        if run_id not in self._records:
            run = await in_thread(load_run, self.store, run_id)
            self._records[run_id] = RunRecord(self.store, run)
        return self._records[run_id]

    async def list(self) -> list[run_pb2.Run]:
        """All runs of the store, newest first."""
        runs = await in_thread(lambda: list(list_runs(self.store)))
        return sorted(runs, key=lambda run: run.created_at.ToNanoseconds(), reverse=True)

    async def cancel(self, run_id: str) -> run_pb2.Run:
        """Stops the run where it is."""
        record = await self.record(run_id)
        task = self._tasks.pop(run_id, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if record.run.state not in ENDED:
            await record.end(run_pb2.RUN_STATE_CANCELLED)
        return record.run

    async def _find(self, run_id: str) -> run_pb2.Run | None:
        if run_id in self._records:
            return self._records[run_id].run
        runs = await in_thread(lambda: {run.id: run for run in list_runs(self.store)})
        return runs.get(run_id)

    def _start(self, run: run_pb2.Run) -> RunRecord:
        record = RunRecord(self.store, run)
        self._records[run.id] = record
        self._tasks[run.id] = asyncio.create_task(self._run(record))
        return record

    async def _run(self, record: RunRecord) -> None:
        try:
            await self._run_stages(record)
        except RetrogradeError as error:
            _log.error("run failed", run_id=record.run.id, error=str(error))
            await record.end(run_pb2.RUN_STATE_FAILED, str(error))
        except Exception as error:  # noqa: BLE001  the run's owner must learn of any fault, and the service goes on
            _log.exception("run failed", run_id=record.run.id)
            await record.end(run_pb2.RUN_STATE_FAILED, f"{type(error).__name__}: {error}")

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
        )
        done = {stage.name for stage in record.run.stages if stage.state == run_pb2.RUN_STATE_SUCCEEDED}
        for stage in plan(recipe):
            if stage.name not in done:
                await _run_stage(stage, context, record)
        await record.end(run_pb2.RUN_STATE_SUCCEEDED)


async def _run_stage(stage: Stage, context: RunContext, record: RunRecord) -> None:
    """Runs the stage until it is done; while a service is away, waits and runs it again."""
    state = await record.begin(stage.name, stage.unit)
    progress: Callable[[int, int, str], Awaitable[None]] = lambda done, total, detail: record.progress(  # noqa: E731
        state, done, total, detail
    )
    while True:
        try:
            cost = await stage.run(context, progress)
        except UnavailableError as error:
            _log.warning("a service is away; the stage waits", stage=stage.name, error=str(error))
            await record.progress(state, state.done, state.total, f"waiting: {error}")
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            await record.finish(state, cost)
            return


def _parse(recipe_yaml: str) -> Recipe:
    try:
        return parse_recipe(recipe_yaml)
    except RecipeError as error:
        raise InvalidInputError(str(error)) from error
