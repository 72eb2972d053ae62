"""The stage of a training job while its store comes and goes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from retrograde.core.problem import Cost
from retrograde.runtime.errors import UnavailableError
from services.trainer.settings import TrainerSettings
from services.trainer.stages import training
from services.trainer.stages.stage import RunContext
from services.trainer.stages.training import SftStage
from tests.unit.search.search_fakes import RECIPE, MemoryStore
from tests.unit.trainer.trainer_fakes import Backend, until

SETTINGS = TrainerSettings(inference="127.0.0.1:1", verifier="127.0.0.1:2", rollouts="127.0.0.1:3", work_dir="/nowhere")
STEP = "runs/r/jobs/direct_sft/steps/000001.json"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    monkeypatch.setattr(training, "_LOOK_EVERY_SECONDS", 0.01)
    return MemoryStore()


def begun(store: MemoryStore, told: list[int]) -> asyncio.Task[Cost]:
    """A stage whose job works; `told` has its steps, each time they are reported."""
    ports: Any = None
    context = RunContext("r", RECIPE, SETTINGS, store, ports, ports, ports, Backend())

    async def progress(done: int, _total: int, _detail: str) -> None:
        told.append(done)

    return asyncio.create_task(SftStage("direct").run(context, progress))


async def test_steps_are_reported_again_and_cancelling_ends_the_stage(store: MemoryStore) -> None:
    """A store that was away and is back hides no step; one that is away still does not keep the stage from its end."""
    told: list[int] = []
    stage = begun(store, told)
    await until(lambda: told == [0])
    store.fault, asked = UnavailableError("store: away"), store.num_calls
    await until(lambda: store.num_calls > asked + 2)
    store.fault = None
    store.put(STEP, json.dumps({"step": 1, "loss": 0.5}).encode())
    await until(lambda: told[-1] == 1)
    store.fault = UnavailableError("store: away")
    stage.cancel()
    await asyncio.wait({stage}, timeout=60)
    assert stage.cancelled()


async def test_a_step_that_nobody_can_read_does_not_keep_the_stage_from_its_end(store: MemoryStore) -> None:
    """Its report has failed; cancelled, the stage ends as cancelled."""
    store.put(STEP, b"{")
    stage, asked = begun(store, []), store.num_calls
    await until(lambda: store.num_calls == asked + 3)  # is there a checkpoint, which steps are there, what is in one
    await until(lambda: len(asyncio.all_tasks()) == 2)  # this one and the stage: the report is over
    stage.cancel()
    await asyncio.wait({stage}, timeout=60)
    assert stage.cancelled()


async def test_a_job_that_waits_says_what_for(store: MemoryStore) -> None:
    """The stage's line has the cluster's words, also where the job has done steps before; else its latest figures."""
    ports: Any = None
    backend, told = Backend(), list[tuple[int, str]]()
    context = RunContext("r", RECIPE, SETTINGS, store, ports, ports, ports, backend)

    async def progress(done: int, _total: int, detail: str) -> None:
        told.append((done, detail))

    stage = asyncio.create_task(SftStage("direct").run(context, progress))
    await until(lambda: told[-1:] == [(0, "starting")])
    backend.reason = "pod a-0: Unschedulable: 0/3 nodes"
    await until(lambda: told[-1:] == [(0, "waiting: pod a-0: Unschedulable: 0/3 nodes")])
    store.put(STEP, json.dumps({"step": 1, "loss": 0.5}).encode())
    await until(lambda: told[-1:] == [(1, "waiting: pod a-0: Unschedulable: 0/3 nodes")])
    backend.reason = ""
    await until(lambda: "loss" in told[-1][1])
    stage.cancel()
    await asyncio.wait({stage}, timeout=60)
