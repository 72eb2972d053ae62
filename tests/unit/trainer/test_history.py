"""All that happened to a run is kept, and gives its state again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from retrograde.core.problem import Cost
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import UnavailableError
from retrograde.v1 import run_pb2
from services.trainer import runs
from services.trainer.history import History, rebuilt
from services.trainer.runs import RunRecord, list_runs, load_run, run_key
from tests.unit.search.search_fakes import MemoryStore

CREATED = run_pb2.RunCreated(recipe_hash="abc", recipe_yaml="name: x", plan=["search", "rewrite"])
CONTINUED = run_pb2.RunEvent(continued=run_pb2.RunContinued())


async def a_life(record: RunRecord) -> None:
    """Finishes one stage and fails in the next."""
    stage = await record.begin("search", "trees")
    await record.progress(stage, 3, 5, "three of five")
    await record.finish(stage, Cost(generated_tokens=7))
    stage = await record.begin("rewrite", "trees")
    await record.progress(stage, 1, 3, "one of three")
    await record.end(run_pb2.RUN_STATE_FAILED, "out of luck")


async def test_the_state_is_rebuilt_from_the_history_alone(tmp_path: Path) -> None:
    """Created, failed, continued by another trainer and cancelled: the events give run.pb to the last field."""
    store = open_store(f"file://{tmp_path}")
    record = RunRecord(store, run_pb2.Run(id="r"))
    await record.create(CREATED, "ada")
    await a_life(record)
    second = RunRecord(store, load_run(store, "r"))
    await second.tell(CONTINUED, "ada")
    stage = await second.begin("rewrite", "trees")
    await second.progress(stage, 2, 3, "two of three")
    await second.end(run_pb2.RUN_STATE_CANCELLED, by="grace")
    events = History(store, "r").read()
    assert rebuilt("r", events) == run_pb2.Run.FromString(store.get(run_key("r")))
    assert [(event.number, event.WhichOneof("happened"), event.by) for event in events] == [
        (1, "created", "ada"),
        (2, "stage_began", "trainer"),
        (3, "stage_finished", "trainer"),
        (4, "stage_began", "trainer"),
        (5, "ended", "trainer"),
        (6, "continued", "ada"),
        (7, "stage_began", "trainer"),
        (8, "ended", "grace"),
    ]
    assert [event.at.ToNanoseconds() for event in events] == sorted(event.at.ToNanoseconds() for event in events)


@pytest.mark.parametrize("is_stored", [True, False], ids=["older state", "no state"])
async def test_what_the_state_missed_is_taken_in(*, is_stored: bool) -> None:
    """A trainer that died between an event and run.pb: the next one knows what the history knows."""
    store = MemoryStore()
    record = RunRecord(store, run_pb2.Run(id="r"))
    await record.create(CREATED, "ada")
    before = store.get(run_key("r"))
    await a_life(record)
    if is_stored:
        store.put(run_key("r"), before)
    else:
        store.delete(run_key("r"))
    assert load_run(store, "r") == record.run


async def test_a_run_is_listed_from_its_first_event_on() -> None:
    """A trainer that died before the first run.pb: the next one finds the run, and so goes on with it."""
    store = MemoryStore()
    record = RunRecord(store, run_pb2.Run(id="r"))
    await record.create(CREATED, "ada")
    assert list(list_runs(store)) == [record.run]
    store.delete(run_key("r"))
    assert list(list_runs(store)) == [record.run]


async def test_a_run_is_listed_as_its_history_left_it() -> None:
    """A trainer that died between "continued" and run.pb: the next one finds the run at work, and goes on with it."""
    store = MemoryStore()
    record = RunRecord(store, run_pb2.Run(id="r"))
    await record.create(CREATED, "ada")
    await record.end(run_pb2.RUN_STATE_FAILED, "out of luck")
    failed = store.get(run_key("r"))
    await record.tell(CONTINUED, "ada")
    store.put(run_key("r"), failed)
    assert list(list_runs(store)) == [record.run]


async def test_no_object_of_the_history_is_written_twice() -> None:
    """Two trainers that take one run for theirs do not overwrite what the other has told."""
    store = MemoryStore()
    first = RunRecord(store, run_pb2.Run(id="r"))
    await first.create(CREATED, "ada")
    second = RunRecord(store, load_run(store, "r"))
    await first.begin("search", "trees")
    await second.end(run_pb2.RUN_STATE_CANCELLED, by="grace")
    assert [event.WhichOneof("happened") for event in History(store, "r").read()].count("stage_began") == 1
    assert len(History(store, "r").read()) == 3


async def test_an_event_that_was_begun_is_kept_when_its_stage_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cancelled stage had told comes before the run's end, and nothing is told under one number twice."""
    monkeypatch.setattr(runs, "_PAUSE_SECONDS", 0.01)
    store = MemoryStore()
    record = RunRecord(store, run_pb2.Run(id="r"))
    await record.create(CREATED, "ada")
    store.fault = UnavailableError("store: away")
    beginning = asyncio.create_task(record.begin("search", "trees"))
    await asyncio.sleep(0.05)
    beginning.cancel()
    ending = asyncio.create_task(record.end(run_pb2.RUN_STATE_CANCELLED, by="ada"))
    await asyncio.sleep(0.05)
    store.fault = None
    await ending
    told = [event.WhichOneof("happened") for event in History(store, "r").read()]
    assert (beginning.cancelled(), told) == (True, ["created", "stage_began", "ended"])
    assert load_run(store, "r") == rebuilt("r", History(store, "r").read())
