"""A tree's log is read back whole, and what a stale worker adds to it is never followed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrograde.core.mcts import Call, CallKind
from retrograde.core.policy import Completion, Generation
from retrograde.core.problem import Cost, Grade, Verdict
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from services.search.tree_log import Record, TreeLog, record_from_proto, record_to_proto

PREFIX = "runs/r/tree-logs/p/"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}")


def record(index: int, text: str = "a\n") -> Record:
    return Record(Call(index, CallKind.EXPAND, index, 1), Generation((Completion(text),), 3))


def texts(records: list[Record]) -> list[str]:
    return [each.generation.completions[0].text for each in records]


async def written(store: ObjectStore, *words: str) -> TreeLog:
    """A log opened by a new worker, with one more record per word."""
    log = TreeLog(store, PREFIX)
    start = len(await log.read())
    for index, word in enumerate(words, start=start):
        await log.append(record(index, word))
    return log


async def read(store: ObjectStore) -> list[str]:
    return texts(await TreeLog(store, PREFIX).read())


def test_record_survives_the_wire() -> None:
    """Call, tokens, grades by position and cost come back as they were."""
    completion = Completion("x\n", np.int32([5, 6]), logprob=-1.5, finish_reason="length")
    told = Record(
        Call(3, CallKind.EVALUATE, 8, 2),
        Generation((completion, completion), policy_version=2, engine_seconds=0.5),
        {1: Grade(Verdict.TIMEOUT, "slow"), 0: Grade(Verdict.CORRECT, "", "28")},
        Cost(5, 4, 2, 1.5, 0.5),
    )
    back = record_from_proto(record_to_proto(told, ""))
    assert (back.call, back.grades, back.cost) == (told.call, told.grades, told.cost)
    (one, _) = back.generation.completions
    assert (one.text, one.token_ids.tolist(), one.logprob, one.finish_reason) == ("x\n", [5, 6], -1.5, "length")


async def test_new_log_is_empty(store: ObjectStore) -> None:
    """Nothing stored is nothing to continue."""
    assert await read(store) == []


async def test_next_worker_goes_on_where_the_last_one_stopped(store: ObjectStore) -> None:
    """Records of three workers, one after the other, are one log."""
    await written(store, "a", "b")
    await written(store, "c")
    await written(store, "d")
    assert await read(store) == ["a", "b", "c", "d"]


async def test_stale_worker_cannot_mix_its_records_in(store: ObjectStore) -> None:
    """What the first worker still appends after the second took over is on a branch that nobody follows."""
    stale = await written(store, "a", "b")
    fresh = await written(store, "c")
    await stale.append(record(2, "stale"))
    await stale.append(record(3, "stale"))
    await stale.append(record(4, "stale"))
    await fresh.append(record(3, "d"))
    assert await read(store) == ["a", "b", "c", "d"]


async def test_of_two_workers_started_at_once_one_wins_whole(store: ObjectStore) -> None:
    """Two logs opened in the same epoch never interleave."""
    one, other = TreeLog(store, PREFIX), TreeLog(store, PREFIX)
    await one.read()
    await other.read()
    for index, log in enumerate([one, other, one, other]):
        await log.append(record(index // 2, "one" if log is one else "other"))
    assert await read(store) in (["one", "one"], ["other", "other"])


async def test_truncated_log_goes_on_with_other_records(store: ObjectStore) -> None:
    """Records that do not fit the search any more are replaced from there on."""
    await written(store, "a", "b", "c")
    log = TreeLog(store, PREFIX)
    await log.read()
    log.truncate(1)
    await log.append(record(1, "new"))
    assert await read(store) == ["a", "new"]


async def test_log_with_a_lost_record_starts_again(store: ObjectStore) -> None:
    """A chain that does not reach the first call is not used; the new records are."""
    await written(store, "a", "b", "c")
    store.delete(sorted(store.list(PREFIX))[1])
    assert await read(store) == []
    await written(store, "x")
    assert await read(store) == ["x"]


async def test_deleted_log_leaves_no_object(store: ObjectStore) -> None:
    """Records of all workers go."""
    stale = await written(store, "a")
    log = await written(store, "b")
    await stale.append(record(1, "stale"))
    await log.delete()
    assert list(store.list(PREFIX)) == []


async def test_log_of_a_problem_below_another_is_left_alone(store: ObjectStore) -> None:
    """Problem "p" and problem "p/q" have logs of their own."""
    await written(store, "a")
    store.put(f"{PREFIX}q/{min(store.list(PREFIX)).removeprefix(PREFIX)}", b"other")
    assert await read(store) == ["a"]
