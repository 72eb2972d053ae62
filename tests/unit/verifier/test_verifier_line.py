"""Who is graded next, and what becomes of items that are settled, handed back or abandoned."""

from __future__ import annotations

from retrograde.sandbox.line import Batch, Item, Line
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb

PLENTY = 1 << 20
GRADE = verdict_pb2.Grade(verdict=verdict_pb2.VERDICT_CORRECT)


def batch_of(*texts: str) -> Batch:
    return Batch.of([pb.VerifyItem(text=text) for text in texts])


def texts(items: list[Item]) -> list[str]:
    return [item.message.text for item in items]


async def test_callers_are_served_in_turn() -> None:
    """A chunk takes one item of each caller in turn, so a large batch does not hold up a small one."""
    line = Line()
    line.join(batch_of("a1", "a2", "a3", "a4"))
    line.join(batch_of("b1"))
    assert texts(line.take(4, PLENTY)) == ["a1", "b1", "a2", "a3"]
    assert line.num_waiting == 1


async def test_a_chunk_is_bounded_in_bytes() -> None:
    """A chunk ends with the item that fills it, and always has one: long texts do not pile up in one process."""
    line = Line()
    line.join(batch_of("a" * 100, "b" * 600, "c" * 500, "d"))
    assert [len(line.take(9, 512)) for _ in range(3)] == [2, 2, 0]


async def test_items_handed_back_come_first_and_in_order() -> None:
    """What a worker gives back is taken before what its caller has waiting; settled items do not come back."""
    line = Line()
    line.join(batch_of("a1", "a2", "a3", "a4", "a5"))
    taken = line.take(4, PLENTY)
    taken[1].settle(GRADE)
    line.rejoin(taken[:3])
    assert texts(line.take(9, PLENTY)) == ["a1", "a3", "a5"]


async def test_items_of_a_caller_that_left_are_dropped() -> None:
    """Neither its waiting items nor those handed back later are taken."""
    line = Line()
    gone = batch_of("a1", "a2")
    line.join(gone)
    (taken,) = line.take(1, PLENTY)
    gone.done.cancel()
    line.leave(gone)
    line.rejoin([taken])
    assert (line.take(9, PLENTY), line.num_waiting) == ([], 0)


async def test_a_batch_is_done_with_its_last_grade() -> None:
    """Each item counts once: a second grade of the same item changes nothing."""
    batch = batch_of("a1", "a2")
    first, second = batch.items
    first.settle(GRADE)
    first.settle(verdict_pb2.Grade(verdict=verdict_pb2.VERDICT_ERROR))
    assert not batch.done.done()
    second.settle(GRADE)
    assert batch.done.done()
    assert batch.grades == [GRADE, GRADE]
