"""Runs whose caller leaves, whose store is away, or whose trainer dies or is told to stop in the midst of a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from retrograde.core.problem import Cost
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.v1 import run_pb2
from retrograde.v1 import trainer_service_pb2 as pb
from services.trainer import controller as controllers
from services.trainer import runs, waiting
from services.trainer.history import History
from services.trainer.launch import Job, JobHandle
from services.trainer.servicer import TrainerServicer
from services.trainer.stages.stage import Progress, RunContext
from tests.unit.search.search_fakes import RECIPE, MemoryStore
from tests.unit.trainer.trainer_fakes import YAML, Scripted, Trainer, ended, until

AWAY = UnavailableError("store: away")


class Store(MemoryStore):
    """`on[part]` is called once when a key with `part` is read, or has been put."""

    def __init__(self) -> None:
        super().__init__()
        self.on: dict[str, Callable[[], None]] = {}

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self._met(key)

    def get(self, key: str) -> bytes:
        self._met(key)
        return super().get(key)

    def breaks(self) -> None:
        self.fault = AWAY

    def fails(self) -> None:
        raise AWAY

    def _met(self, key: str) -> None:
        for part in [part for part in self.on if part in key]:
            self.on.pop(part)()


class EndsBadly(Scripted):
    """A stage whose first end needs what is away."""

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        try:
            return await super().run(context, progress)
        finally:
            if len(self.begun) == 1:
                raise AWAY


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def trainer(store: Store, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    for module in (controllers, runs, waiting):
        monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    trainer = Trainer()
    trainer.store = store
    return trainer


async def leave(call: asyncio.Task[Any]) -> None:
    """Its caller goes away."""
    call.cancel()
    await asyncio.wait({call})


async def test_a_run_is_cancelled_although_its_caller_leaves(trainer: Trainer) -> None:
    """While its job is given time to end: the job ends and the run is CANCELLED by that caller."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await trainer.backend.launch(Job("r", "arm", "module", RECIPE, 1))
        trainer.backend.may_end.clear()
        call = asyncio.create_task(controller.cancel("r", "grace"))
        await until(lambda: bool(trainer.backend.ending))
        await leave(call)
        trainer.backend.may_end.set()
        assert (await ended(controller, "r")).state == run_pb2.RUN_STATE_CANCELLED
    assert (call.cancelled(), trainer.backend.at_work) == (True, [])


async def test_a_run_fails_although_its_jobs_place_does_not_answer(trainer: Trainer) -> None:
    """It is asked until it does: then the jobs end, and the run is FAILED with the stage's error."""
    trainer.stages[0].faults = [InvalidInputError("problems.search.count: 0 is too few")]
    await trainer.backend.launch(Job("r", "arm", "module", RECIPE, 1))
    trainer.backend.faults = [AWAY] * 3
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        run = await ended(controller, "r")
    assert (run.state, run.error) == (run_pb2.RUN_STATE_FAILED, "problems.search.count: 0 is too few")
    assert trainer.backend.at_work == []


async def test_a_cancel_is_carried_through_although_jobs_and_store_are_away(trainer: Trainer, store: Store) -> None:
    """Their places are asked until they answer, and meanwhile the run can be looked at; then it is CANCELLED."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await trainer.backend.launch(Job("r", "arm", "module", RECIPE, 1))
        trainer.backend.faults, store.on["cancelled"] = [AWAY] * 3, store.fails
        trainer.backend.may_end.clear()
        call = asyncio.create_task(controller.cancel("r", "grace"))
        await until(lambda: bool(trainer.backend.ending))
        assert (await asyncio.wait_for(controller.record("r"), 60)).run.state == run_pb2.RUN_STATE_RUNNING
        trainer.backend.may_end.set()
        run = await asyncio.wait_for(call, 60)
    assert (run.state, trainer.backend.at_work) == (run_pb2.RUN_STATE_CANCELLED, [])


async def test_a_cancel_that_cannot_finish_lets_the_trainer_drain(trainer: Trainer) -> None:
    """Its caller is told to ask again, and the run is as it was for the next trainer."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        trainer.backend.faults = [AWAY] * 1_000_000
        call = asyncio.create_task(controller.cancel("r", "grace"))
        await until(lambda: len(trainer.backend.faults) < 1_000_000)
        trainer.drain.set()
        with pytest.raises(UnavailableError, match="away"):
            await asyncio.wait_for(call, 60)
    assert trainer.told("r")[-1] != "ended"


async def test_no_weights_are_served_while_another_runs_job_publishes_its_own(trainer: Trainer) -> None:
    """That job outlived its trainer: whoever comes first lets its run go before, and goes on once it has ended."""
    trainer.stages[0].go.set()
    await trainer.backend.launch(Job("z", "astro_rl", "module", RECIPE, 1))
    async with trainer.life() as controller:
        await controller.create("a", YAML, "ada")
        await until(lambda: "stage_waits" in trainer.told("a"))
        await controller.create("z", YAML, "ada")
        await until(lambda: trainer.stages[1].at_work == {"z"})
        trainer.stages[1].go.set()
        await ended(controller, "z")
        assert trainer.stages[1].begun == ["z"]
        await trainer.backend.cancel(JobHandle("z", "astro_rl"))
        assert (await ended(controller, "a")).state == run_pb2.RUN_STATE_SUCCEEDED
    (waits,) = [event.stage_waits for event in History(trainer.store, "a").read() if event.HasField("stage_waits")]
    assert waits.reason == "another run's job has the inference pool: astro_rl of z"


async def test_a_run_begins_although_its_caller_leaves(trainer: Trainer, store: Store) -> None:
    """Between its first event and its state: it is at work once the store takes that."""
    async with trainer.life() as controller:
        store.on["history"] = store.breaks
        call = asyncio.create_task(controller.create("r", YAML, "ada"))
        await until(lambda: store.fault is not None)
        await leave(call)
        store.fault = None
        await until(lambda: trainer.stages[0].begun == ["r"])


async def test_a_run_that_was_kept_and_not_begun_begins_when_created_again(trainer: Trainer, store: Store) -> None:
    """The store took the first event and did not answer: the second call finds the run, and starts it."""
    async with trainer.life() as controller:
        store.on["history"] = store.fails
        with pytest.raises(UnavailableError):
            await controller.create("r", YAML, "ada")
        run = await controller.create("r", YAML, "ada")
        await until(lambda: trainer.stages[0].begun == ["r"])
    assert (run.state, trainer.told("r")[:2]) == (run_pb2.RUN_STATE_RUNNING, ["created", "continued"])


async def test_a_stage_that_ends_badly_is_cancelled_all_the_same(trainer: Trainer) -> None:
    """What it needed for its end is away: it is not run again, and the run is CANCELLED."""
    stage = EndsBadly("one")
    trainer.stages[0] = stage
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await until(lambda: stage.at_work == {"r"})
        run = await asyncio.wait_for(controller.cancel("r", "grace"), 60)
    assert (run.state, stage.begun) == (run_pb2.RUN_STATE_CANCELLED, ["r"])


async def test_a_stage_waits_for_the_store_that_names_its_weights(trainer: Trainer, store: Store) -> None:
    """It says so, and its run succeeds."""
    for stage in trainer.stages:
        stage.go.set()
    store.on["checkpoints/base"] = store.fails
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        assert (await ended(controller, "r")).state == run_pb2.RUN_STATE_SUCCEEDED
    assert trainer.told("r").count("stage_waits") == 1


async def test_a_trainer_that_starts_before_its_store_waits_for_it(trainer: Trainer, store: Store) -> None:
    """And then continues what had not ended."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await until(lambda: trainer.stages[0].begun == ["r"])
    store.fault, asked = AWAY, store.num_calls
    async with trainer.life():
        await until(lambda: store.num_calls > asked + 1)
        store.fault = None
        await until(lambda: trainer.stages[0].begun == ["r", "r"])


async def test_an_end_that_the_state_missed_is_stored_at_the_start(trainer: Trainer, store: Store) -> None:
    """The trainer died between the last event and run.pb: the next one stores that the run has ended."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        before = store.get("runs/r/run.pb")
        await controller.cancel("r", "grace")
    store.put("runs/r/run.pb", before)
    async with trainer.life() as controller:
        await until(lambda: store.objects["runs/r/run.pb"] != before)
        (run,), _ = await controller.list(run_pb2.RUN_STATE_CANCELLED, 0, "")
    assert run.id == "r"


async def test_a_run_goes_on_whose_state_missed_that_it_was_continued(trainer: Trainer, store: Store) -> None:
    """The trainer died between "continued" and run.pb: the next one works on."""
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        await controller.cancel("r", "grace")
        cancelled = store.get("runs/r/run.pb")
        await controller.create("r", YAML, "ada")
        await until(lambda: trainer.stages[0].at_work == {"r"})
    store.put("runs/r/run.pb", cancelled)
    begun = len(trainer.stages[0].begun)
    async with trainer.life():
        await until(lambda: len(trainer.stages[0].begun) > begun)


async def test_a_watcher_is_sent_away_when_the_trainer_drains(trainer: Trainer) -> None:
    """It has seen the run at work, and is told to watch again."""
    seen: list[int] = []
    async with trainer.life() as controller:
        await controller.create("r", YAML, "ada")
        servicer = TrainerServicer(controller, trainer.drain)
        anyone: Any = None

        async def watch() -> None:
            async for reply in servicer.WatchRun(pb.WatchRunRequest(run_id="r"), anyone):
                seen.append(reply.run.state)  # noqa: PERF401

        watcher = asyncio.create_task(watch())
        await until(lambda: bool(seen))
        trainer.drain.set()
        with pytest.raises(UnavailableError, match="this process is draining; watch again"):
            await asyncio.wait_for(watcher, 60)
    assert set(seen) == {run_pb2.RUN_STATE_RUNNING}
