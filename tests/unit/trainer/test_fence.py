"""A store belongs to the trainer that began last; what an earlier one tells afterwards is void."""

from __future__ import annotations

import pytest

from retrograde.core.problem import Cost
from retrograde.runtime.errors import FencedError
from retrograde.v1 import run_pb2
from services.trainer.fence import Fence
from services.trainer.history import History
from services.trainer.runs import RunRecord, load_run, run_key
from tests.unit.search.search_fakes import MemoryStore

CREATED = run_pb2.RunCreated(recipe_hash="abc", recipe_yaml="name: x", plan=["search"])
CONTINUED = run_pb2.RunEvent(continued=run_pb2.RunContinued())


def begun(store: MemoryStore) -> Fence:
    fence = Fence(store)
    fence.begin()
    return fence


def test_whoever_begins_last_has_the_store() -> None:
    """All before it are fenced from then on, and one object is left."""
    store = MemoryStore()
    first, second = begun(store), begun(store)
    second.check()
    with pytest.raises(FencedError, match=f"trainer {first.name}: trainer {second.name} has taken the store over"):
        first.check()
    assert list(store.objects) == [f"trainers/{second.name}"]


def test_one_of_two_that_begin_at_once_has_it() -> None:
    """Both saw the same trainers and took one number: the later name holds, the other learns of it."""
    store = MemoryStore()
    low, high = (Fence(store, f"000001-{life}") for life in ("0a", "0b"))
    for fence in (low, high):
        store.put(f"trainers/{fence.name}", b"")
    high.check()
    with pytest.raises(FencedError):
        low.check()


class Stalling(MemoryStore):
    """While `sleeper` is about to put, another trainer begins and goes on with the run."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps_before = ""
        self.later: Fence | None = None

    def put(self, key: str, data: bytes) -> None:
        if self.sleeps_before and self.sleeps_before in key:
            self.sleeps_before = ""
            self.later = begun(self)
            run = load_run(self, "r")
            event = run_pb2.RunEvent(number=run.num_events + 1, by="later", continued=run_pb2.RunContinued())
            History(self, "r", self.later.name).append(event)
        super().put(key, data)


async def finished(record: RunRecord, stage: run_pb2.Stage) -> None:
    await record.finish(stage, Cost())
    await record.end(run_pb2.RUN_STATE_SUCCEEDED)


@pytest.mark.parametrize("sleeps_before", ["/history/", "/run.pb"])
async def test_what_a_stalled_trainer_puts_when_it_wakes_changes_nothing(sleeps_before: str) -> None:
    """The event that it was about to keep is void, the state that it was about to store outdated; it learns why."""
    store = Stalling()
    record = RunRecord(store, run_pb2.Run(id="r"), begun(store))
    await record.create(CREATED, "ada")
    stage = await record.begin("search", "trees")
    store.sleeps_before = sleeps_before
    with pytest.raises(FencedError):
        await finished(record, stage)
    events = History(store, "r").read()
    told = [event.WhichOneof("happened") for event in events]
    is_finished = sleeps_before == "/run.pb"  # it was told while the store was still its own
    assert told == ["created", "stage_began", *(["stage_finished"] if is_finished else []), "continued"]
    run = load_run(store, "r")
    assert (run.state, run.num_events) == (run_pb2.RUN_STATE_RUNNING, len(events))
    assert (run.stages[0].state == run_pb2.RUN_STATE_SUCCEEDED) == is_finished


async def test_a_state_that_holds_a_void_event_is_made_anew() -> None:
    """Stored by the stalled trainer after its void event, it is not believed."""
    store = MemoryStore()
    record = RunRecord(store, run_pb2.Run(id="r"), begun(store))
    await record.create(CREATED, "ada")
    before = run_pb2.Run.FromString(store.get(run_key("r")))
    await record.end(run_pb2.RUN_STATE_FAILED, "woken too late")
    later = RunRecord(store, before, begun(store))
    stale = store.get(run_key("r"))
    await later.tell(CONTINUED)
    store.put(run_key("r"), stale)
    run = load_run(store, "r")
    assert (run.state, run.error, run.num_events) == (run_pb2.RUN_STATE_RUNNING, "", 2)
