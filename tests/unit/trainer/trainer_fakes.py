"""A trainer with scripted stages and jobs, over a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import yaml

from retrograde.core.problem import Cost
from retrograde.v1 import run_pb2
from services.trainer.controller import Controller
from services.trainer.history import History
from services.trainer.launch import Job, JobHandle, JobState, JobStatus
from services.trainer.stages.stage import Progress, RunContext
from tests.unit.search.search_fakes import RECIPE, MemoryStore

YAML = yaml.safe_dump(RECIPE.model_dump(mode="json"))


class Told:
    """A run's history in memory; `rows` are its jobs' events: (what, attempt), for an end with outcome and reason."""

    def __init__(self) -> None:
        self.kept: list[run_pb2.RunEvent] = []
        self.num_checks = 0

    async def tell(self, event: run_pb2.RunEvent) -> None:
        self.kept.append(event)

    async def events(self) -> list[run_pb2.RunEvent]:
        return list(self.kept)

    async def check(self) -> None:
        self.num_checks += 1

    @property
    def rows(self) -> list[tuple[object, ...]]:
        return rows_of(self.kept)


def rows_of(events: Iterable[run_pb2.RunEvent]) -> list[tuple[object, ...]]:
    """The jobs' events. Each end has the uid of the start before it, and there is one for each start but the last."""
    rows: list[tuple[object, ...]] = []
    open_uid: str | None = None
    for event in events:
        if event.HasField("job_started"):
            assert open_uid is None, "the start before has no end"
            open_uid = event.job_started.uid
            rows.append(("started", event.job_started.attempt))
        elif event.HasField("job_ended"):
            ended, outcome = event.job_ended, run_pb2.JobOutcome.Name(event.job_ended.outcome)
            assert ended.uid == open_uid, "the end is that of another start"
            open_uid = None
            rows.append(("ended", ended.attempt, outcome.removeprefix("JOB_OUTCOME_").lower(), ended.reason))
    return rows


class Backend:
    """Jobs run until they are cancelled, and end once they `may_end`; `faults` are raised when it is asked for jobs."""

    def __init__(self) -> None:
        self.at_work: list[JobHandle] = []
        self.ending: list[JobHandle] = []
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.reason = ""
        self.faults: list[Exception] = []

    async def launch(self, job: Job, after: str = "") -> str:
        if job.handle not in self.at_work:
            self.at_work.append(job.handle)
        return _uid(job.handle)

    async def status(self, handle: JobHandle) -> JobStatus:
        if handle not in self.at_work:
            return JobStatus(JobState.GONE)
        return JobStatus(JobState.RUNNING, self.reason, uid=_uid(handle))

    async def tail(self, handle: JobHandle, num_lines: int) -> str:
        return ""

    async def cancel(self, handle: JobHandle) -> None:
        self.ending.append(handle)
        await self.may_end.wait()
        self.at_work.remove(handle)

    async def running(self) -> list[JobHandle]:
        if self.faults:
            raise self.faults.pop()
        return list(self.at_work)


def _uid(handle: JobHandle) -> str:
    return f"uid of {handle.name}"


class Scripted:
    """A stage that works until `go`; `faults` are raised first. Notes its runs by run id."""

    unit = "things"

    def __init__(self, name: str, serves: str = "") -> None:
        self.name, self.serves = name, serves
        self.go = asyncio.Event()
        self.begun: list[str] = []
        self.at_work: set[str] = set()
        self.faults: list[Exception] = []

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        self.begun.append(context.run_id)
        if self.faults:
            raise self.faults.pop()
        self.at_work.add(context.run_id)
        try:
            await self.go.wait()
        finally:
            self.at_work.discard(context.run_id)
        await progress(2, 2, "")
        return Cost()


class Trainer:
    """Controllers over one store, one life after the other."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.drain = asyncio.Event()
        self.backend = Backend()
        self.stages = [Scripted("one"), Scripted("two", serves="base")]

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[Controller]:
        self.drain = drain = asyncio.Event()
        other: Any = SimpleNamespace()
        controller = Controller(other, self.store, other, other, other, self.backend, lambda _recipe: list(self.stages))
        work = asyncio.create_task(controller.work(drain))
        try:
            yield controller
        finally:
            drain.set()
            await asyncio.wait_for(work, 60)

    def told(self, run_id: str) -> list[str | None]:
        return [event.WhichOneof("happened") for event in History(self.store, run_id).read()]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def ended(controller: Controller, run_id: str) -> run_pb2.Run:
    """The run once it has ended."""
    record = await controller.record(run_id)
    async with asyncio.timeout(60):
        async for run in record.watch(asyncio.Event()):
            last = run
    return last
