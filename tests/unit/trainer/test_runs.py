"""A run's state is in the store, and watchers see every change up to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from retrograde.core.problem import Cost
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import NotFoundError, UnavailableError
from retrograde.v1 import run_pb2
from services.trainer import runs
from services.trainer.runs import RunRecord, list_runs, load_run
from tests.unit.search.search_fakes import MemoryStore


def record(folder: Path) -> RunRecord:
    run = run_pb2.Run(id="r1", state=run_pb2.RUN_STATE_RUNNING)
    return RunRecord(open_store(f"file://{folder}"), run)


async def test_stages_and_costs_survive_a_restart(tmp_path: Path) -> None:
    """What was finished is read back with its cost; what began has begun once."""
    before = record(tmp_path)
    stage = await before.begin("search", "trees")
    await before.progress(stage, 3, 5)
    await before.finish(stage, Cost(generated_tokens=7))
    await before.begin("rewrite", "trees")
    after = load_run(before.store, "r1")
    assert [(stage.name, stage.state) for stage in after.stages] == [
        ("search", run_pb2.RUN_STATE_SUCCEEDED),
        ("rewrite", run_pb2.RUN_STATE_RUNNING),
    ]
    assert (after.stages[0].done, after.stages[0].cost.generated_tokens) == (3, 7)
    assert [run.id for run in list_runs(before.store)] == ["r1"]


async def test_a_watcher_sees_the_end(tmp_path: Path) -> None:
    """The stream ends with the run's last state, even when changes come faster than they are read."""
    watched = record(tmp_path)

    async def states() -> list[int]:
        return [run.state async for run in watched.watch(asyncio.Event())]

    reader = asyncio.create_task(states())
    await watched.settled()
    await watched.settled()
    await watched.end(run_pb2.RUN_STATE_FAILED, "out of luck")
    assert (await asyncio.wait_for(reader, 60))[-1] == run_pb2.RUN_STATE_FAILED


async def test_ending_a_run_ends_its_running_stage(tmp_path: Path) -> None:
    """No stage stays "running" in a run that has failed."""
    ended = record(tmp_path)
    await ended.begin("search", "trees")
    await ended.end(run_pb2.RUN_STATE_FAILED, "why")
    assert load_run(ended.store, "r1").stages[0].state == run_pb2.RUN_STATE_FAILED


async def test_a_full_store_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage's state is kept once the store takes it; until then the stage waits."""
    monkeypatch.setattr(runs, "_PAUSE_SECONDS", 0.01)
    store = MemoryStore()
    store.fault = UnavailableError("store: full; free some space there")
    waiting = RunRecord(store, run_pb2.Run(id="r1", state=run_pb2.RUN_STATE_RUNNING))
    beginning = asyncio.create_task(waiting.begin("search", "trees"))
    await asyncio.sleep(0.05)
    assert not beginning.done()
    store.fault = None
    await waiting.finish(await asyncio.wait_for(beginning, 60), Cost())
    assert load_run(store, "r1").stages[0].state == run_pb2.RUN_STATE_SUCCEEDED


def test_unknown_run_is_named(tmp_path: Path) -> None:
    """The error names the id and what to do."""
    with pytest.raises(NotFoundError, match="run_id: 'nope' is unknown"):
        load_run(open_store(f"file://{tmp_path}"), "nope")


async def test_time_between_two_lives_is_not_work(tmp_path: Path) -> None:
    """A stage that is begun again adds to the seconds it had worked; nothing is counted for the pause."""
    before = record(tmp_path)
    stage = await before.begin("search", "trees")
    stage.cost.wall_seconds = 100.0
    await before.settled()
    after = RunRecord(before.store, load_run(before.store, "r1"))
    await after.finish(await after.begin("search", "trees"), Cost())
    assert 100.0 <= after.run.stages[0].cost.wall_seconds < 160.0
