"""A tree's log is read back whole, and what a stale worker adds to it is never followed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from retrograde.core.policy import Completion, Generation
from retrograde.core.problem import Cost, Grade, Verdict
from retrograde.core.search import Call, CallKind
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import FencedError
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import tree_log_pb2
from retrograde.wire.records import Record, record_from_proto, record_to_proto
from services.search import tree_log
from services.search.tree_log import SEGMENT_RECORDS, TreeLog

PREFIX = "runs/r/tree-logs/p/"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}")


def record(index: int, text: str = "a\n") -> Record:
    return Record(Call(index, CallKind.EXPAND, index, 1), Generation((Completion(text),), 3))


def texts(records: list[Record]) -> list[str]:
    return [each.generation.completions[0].text for each in records]


async def written(store: ObjectStore, *words: str) -> TreeLog:
    """A log opened by a new worker, with one more record per word, each in a put of its own."""
    log = TreeLog(store, PREFIX)
    start = len(await log.read())
    for index, word in enumerate(words, start=start):
        await log.append([record(index, word)])
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
    back = record_from_proto(record_to_proto(told))
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


async def test_segments_hold_sixteen_records_each(store: ObjectStore) -> None:
    """64 records, appended one by one or in groups, are four objects, read back in their order."""
    words = [str(number) for number in range(64)]
    log = await written(store, *words[:30])
    await log.append([record(index, words[index]) for index in range(30, 64)])
    assert len(list(store.list(PREFIX))) == 64 / SEGMENT_RECORDS
    assert await read(store) == words


async def test_group_of_replies_is_one_put(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five replies that were ready together cost one write, not five."""
    log = await written(store)
    puts: list[str] = []
    put = store.put
    monkeypatch.setattr(store, "put", lambda key, data: (puts.append(key), put(key, data)))
    await log.append([record(index, "a") for index in range(5)])
    assert len(puts) == 1


async def test_heavy_segment_is_left_early(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that holds its fill of bytes is not written again, however few its records."""
    monkeypatch.setattr(tree_log, "SEGMENT_BYTES", 100)
    await written(store, "x" * 200, "y" * 200, "z")
    assert len(list(store.list(PREFIX))) == 3
    assert await read(store) == ["x" * 200, "y" * 200, "z"]


async def test_records_come_back_in_the_order_of_arrival(store: ObjectStore) -> None:
    """Replies that overtook others stay before them."""
    log = await written(store)
    await log.append([record(index) for index in (2, 0, 1)])
    assert [each.call.index for each in await TreeLog(store, PREFIX).read()] == [2, 0, 1]


async def test_worker_killed_before_its_first_record_leaves_the_log_as_it_was(store: ObjectStore) -> None:
    """Ten workers that only opened the log add nothing to read and no segment to the chain."""
    await written(store, "a", "b")
    for _ in range(10):
        await written(store)
    log = await written(store, "c")
    assert await read(store) == ["a", "b", "c"]
    assert len(log._chain) == 1


async def test_stale_worker_cannot_mix_its_records_in(store: ObjectStore) -> None:
    """What the first worker still appends after the second took over is on a branch that nobody follows."""
    stale = await written(store, "a", "b")
    fresh = await written(store, "c")
    await stale.append([record(2, "stale")])
    await stale.append([record(3, "stale"), record(4, "stale")])
    await fresh.append([record(3, "d")])
    assert await read(store) == ["a", "b", "c", "d"]


async def test_stale_worker_is_told(store: ObjectStore) -> None:
    """As soon as another has opened the log, the check refuses the first, and accepts the other."""
    stale = await written(store, "a")
    await stale.check()
    fresh = await written(store)
    await fresh.check()
    with pytest.raises(FencedError, match="epoch 1 is over, another worker began 2"):
        await stale.check()


async def test_stale_worker_is_told_while_it_appends(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not search on for nobody to the end of its tree; one that is not fenced appends on."""
    monkeypatch.setattr(tree_log, "CHECK_SECONDS", -1.0)
    stale = await written(store, "a")
    fresh = await written(store)
    with pytest.raises(FencedError):
        await stale.append([record(1)])
    await fresh.append([record(1)])


async def test_worker_whose_opening_took_long_is_told(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own claim may be old by the time it returns: if another took over meanwhile it asks nothing."""
    monkeypatch.setattr(tree_log, "CHECK_SECONDS", -1.0)
    put = store.put

    def overtaken(key: str, data: bytes) -> None:
        put(key, data)
        put(f"{PREFIX}000002-00000000-000000.pb", data)

    monkeypatch.setattr(store, "put", overtaken)
    with pytest.raises(FencedError, match="epoch 1 is over, another worker began 2"):
        await TreeLog(store, PREFIX).open()


async def test_of_two_workers_started_at_once_one_wins_whole(store: ObjectStore) -> None:
    """Two logs opened in the same epoch never interleave, and just one may finish."""
    one, other = TreeLog(store, PREFIX), TreeLog(store, PREFIX)
    one._read()
    other._read()  # neither sees the other's segment
    for index, log in enumerate([one, other, one, other]):
        log._begin_segment() if index < 2 else None
        await log.append([record(index // 2, "one" if log is one else "other")])
    checks = await asyncio.gather(one.check(), other.check(), return_exceptions=True)
    winner = "one" if checks[0] is None else "other"
    assert sorted(type(check) for check in checks if check is not None) == [FencedError]
    assert await read(store) == [winner, winner]


async def test_truncated_log_goes_on_with_other_records(store: ObjectStore) -> None:
    """Records that do not fit the search any more are replaced from there on, also within an earlier segment."""
    await written(store, *"abcdefghijklmnopqrstuvwxyz")
    log = TreeLog(store, PREFIX)
    await log.read()
    log.truncate(18)
    await log.append([record(18, "new")])
    assert await read(store) == [*"abcdefghijklmnopqr", "new"]


async def test_log_with_a_lost_segment_starts_again(store: ObjectStore) -> None:
    """A chain that does not reach the first call is not used; the new records are."""
    await written(store, *"abcdefghijklmnopqrstuvwxyz")
    store.delete(min(store.list(PREFIX)))
    assert await read(store) == []
    await written(store, "x")
    assert await read(store) == ["x"]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", tree_log_pb2.TreeLogSegment(version=3).SerializeToString()])
async def test_log_that_cannot_be_read_starts_again(store: ObjectStore, data: bytes) -> None:
    """Bytes that are no segment, or a segment of a later format, are not continued."""
    await written(store, "a")
    store.put(f"{PREFIX}000009-00000000-000000.pb", data)
    assert await read(store) == []


async def test_log_of_format_1_starts_again_and_is_deleted_with_the_tree(store: ObjectStore) -> None:
    """Records of the old format are neither read nor left behind."""
    store.put(f"{PREFIX}000000-0001-0123abcd.pb", tree_log_pb2.TreeLogRecord(version=1).SerializeToString())
    log = await written(store, "a")
    assert await read(store) == ["a"]
    await log.delete()
    assert list(store.list(PREFIX)) == []


async def test_deleted_log_leaves_no_object(store: ObjectStore) -> None:
    """Segments of all workers go."""
    stale = await written(store, "a")
    log = await written(store, "b")
    await stale.append([record(1, "stale")])
    await log.delete()
    assert list(store.list(PREFIX)) == []


async def test_log_of_a_problem_below_another_is_left_alone(store: ObjectStore) -> None:
    """Problem "p" and problem "p/q" have logs of their own."""
    log = await written(store, "a")
    below = f"{PREFIX}q/{min(store.list(PREFIX)).removeprefix(PREFIX)}"
    store.put(below, b"other")
    assert await read(store) == ["a"]
    await log.delete()
    assert list(store.list(PREFIX)) == [below]
