"""The pool of killable workers, against real bombs in real processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from retrograde.runtime.errors import InvalidInputError, OverloadedError
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.pool import Pool
from retrograde.v1 import problem_pb2, verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb

HOSTILE = "tests.integration.verifier.hostile"
DEADLINE_SECONDS = 1.0
CORRECT, INCORRECT = verdict_pb2.VERDICT_CORRECT, verdict_pb2.VERDICT_INCORRECT
TIMEOUT, ERROR = verdict_pb2.VERDICT_TIMEOUT, verdict_pb2.VERDICT_ERROR


def item(text: str, gold: str = "ok") -> pb.VerifyItem:
    return pb.VerifyItem(problem=problem_pb2.Problem(id="p", task=HOSTILE, gold=gold), text=text)


def limits(**changes: object) -> Limits:
    base = {"num_workers": 2, "deadline_seconds": DEADLINE_SECONDS, "memory_bytes": 1 << 28, "tasks": (HOSTILE,)}
    return Limits.model_validate(base | changes)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with Pool(limits()) as started:
        yield started


async def test_a_loop_in_python_is_a_timeout_at_its_deadline(pool: Pool) -> None:
    """An endless loop ends as TIMEOUT, not before its deadline and not long after."""
    began = time.monotonic()
    (grade,) = await pool.verify([item("loop")])
    assert grade.verdict == TIMEOUT
    assert DEADLINE_SECONDS <= time.monotonic() - began < DEADLINE_SECONDS * 5


async def test_a_loop_in_c_is_a_timeout(pool: Pool) -> None:
    """A single C call that no signal handler could interrupt is killed at its deadline all the same."""
    (grade,) = await pool.verify([item("c-loop")])
    assert grade.verdict == TIMEOUT


@pytest.mark.parametrize("bomb", ["memory", "hoard"])
async def test_memory_is_limited(bomb: str) -> None:
    """Memory asked for at once, or bit by bit, ends as ERROR that says so."""
    async with Pool(limits(deadline_seconds=60.0)) as pool:
        (grade,) = await pool.verify([item(bomb)])
    assert (grade.verdict, grade.reason) == (ERROR, "the memory limit was reached")


async def test_an_exception_of_the_task_is_an_error(pool: Pool) -> None:
    """What a task raises is named in the reason, and the next item is graded as usual."""
    failed, fine = await pool.verify([item("raise"), item("ok")])
    assert (failed.verdict, failed.reason) == (ERROR, "RuntimeError: a fault of the task")
    assert fine.verdict == CORRECT


async def test_an_item_that_kills_its_worker_twice_is_an_error(pool: Pool) -> None:
    """An abort in native code costs three workers, and the item is ERROR, never INCORRECT."""
    (grade,) = await pool.verify([item("abort")])
    assert (grade.verdict, grade.reason) == (ERROR, "3 grading processes died of it")


async def test_an_item_whose_worker_died_once_is_graded_by_another(pool: Pool, tmp_path: object) -> None:
    """A worker killed in the middle of an item costs a second try, not a verdict."""
    text = f"die-once {tmp_path}/died"
    (grade,) = await pool.verify([item(text, gold=text)])
    assert grade.verdict == CORRECT


async def test_bombs_delay_only_themselves() -> None:
    """Good answers sent in one batch with bombs, or after them, are graded long before the bombs' deadline."""
    async with Pool(limits(deadline_seconds=120.0)) as pool:
        bombs = asyncio.create_task(pool.verify([item("loop"), item("ok"), item("sleep 120"), item("ok")] * 2))
        await asyncio.sleep(0.2)
        good = await asyncio.wait_for(pool.verify([item("ok")] * 200), timeout=60)
        assert {grade.verdict for grade in good} == {CORRECT}
        assert not bombs.done()
        bombs.cancel()


async def test_bombs_and_good_answers_in_one_batch(pool: Pool) -> None:
    """Each item of a mixed batch has its own verdict, in order."""
    mixed = await pool.verify([item("loop"), item("ok"), item("sleep 30"), item("no")] * 2)
    assert [grade.verdict for grade in mixed] == [TIMEOUT, CORRECT, TIMEOUT, INCORRECT] * 2


async def test_good_answers_right_after_bombs(pool: Pool) -> None:
    """After more bombs than workers the next batch is right: nothing stays blocked."""
    bombs = await pool.verify([item("loop")] * 12)
    assert Counter(grade.verdict for grade in bombs) == {TIMEOUT: 12}
    good = await asyncio.wait_for(pool.verify([item("ok"), item("no")] * 50), timeout=30)
    assert [grade.verdict for grade in good] == [CORRECT, INCORRECT] * 50


async def test_a_slow_answer_is_still_graded(pool: Pool) -> None:
    """Late is not dead: an item that needs half its deadline gets its own verdict."""
    slow, quick = await pool.verify([item(f"sleep {DEADLINE_SECONDS / 2}"), item("ok")])
    assert (slow.verdict, slow.reason, quick.verdict) == (CORRECT, "slept", CORRECT)


async def test_kill_9_of_random_workers_loses_nothing(pool: Pool) -> None:
    """While random children are killed, every item of every caller gets its right verdict, in order."""
    source = random.Random(3)
    callers = [asyncio.create_task(pool.verify([item(f"{n}", gold=f"{n}") for n in range(400)])) for _ in range(20)]
    for _ in range(25):
        await asyncio.sleep(0.01)
        for worker in sorted(pool.workers, key=lambda worker: worker.pid)[: source.randint(0, 1)]:
            os.kill(worker.pid, signal.SIGKILL)
    for grades in await asyncio.gather(*callers):
        assert [(grade.verdict, grade.answer) for grade in grades] == [(CORRECT, f"{n}") for n in range(400)]


async def test_a_lost_fork_server_is_replaced(pool: Pool) -> None:
    """Kill -9 of the fork server, with all its children, costs no answer."""
    assert pool.nursery.pid is not None
    os.kill(pool.nursery.pid, signal.SIGKILL)
    grades = await pool.verify([item("ok")] * 100)
    assert {grade.verdict for grade in grades} == {CORRECT}


async def test_a_caller_that_leaves_takes_its_items_along() -> None:
    """Items of a cancelled caller are not graded any more, and others do not wait for them."""
    async with Pool(limits(num_workers=1, num_late_workers=1)) as pool:
        gone = asyncio.create_task(pool.verify([item("sleep 0.2")] * 1000))
        await asyncio.sleep(0.1)
        gone.cancel()
        (grade,) = await asyncio.wait_for(pool.verify([item("ok")]), timeout=30)  # the rest would take 200 s
        assert grade.verdict == CORRECT


async def test_a_full_line_pushes_back() -> None:
    """More items than may wait are refused with what to do, and those accepted before are graded."""
    async with Pool(limits(num_workers=1, chunk_items=1, max_queued_items=10)) as pool:
        waiting = asyncio.create_task(pool.verify([item("sleep 0.2"), *[item("ok")] * 9]))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="raise max_queued_items"):
            await pool.verify([item("ok")] * 2)
        assert len(await waiting) == 10


async def test_more_bytes_than_may_be_held_are_refused() -> None:
    """Requests not yet answered are counted in bytes too, and their bytes are free again when they are answered."""
    long = "x" * 700_000
    async with Pool(limits(num_workers=1, max_queued_bytes=1 << 20)) as pool:
        held = asyncio.create_task(pool.verify([item(long)]))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="raise max_queued_bytes"):
            await pool.verify([item(long)])
        assert [grade.verdict for grade in await held] == [INCORRECT]
        assert pool.num_bytes == 0
        assert len(await pool.verify([item(long)])) == 1


async def test_a_request_that_never_fits_says_so() -> None:
    """What is larger than the whole line is refused as such, for trying again would not help."""
    async with Pool(limits(num_workers=1, max_queued_items=10)) as pool:
        with pytest.raises(InvalidInputError, match=r"11 items .* at most 10 items"):
            await pool.verify([item("ok")] * 11)


async def test_no_child_outlives_the_pool() -> None:
    """When the pool is left, also in the middle of a bomb, none of its processes is left."""
    async with Pool(limits(deadline_seconds=60.0)) as pool:
        running = asyncio.create_task(pool.verify([item("loop")]))
        await asyncio.sleep(0.3)
        pids = [worker.pid for worker in pool.workers]
        running.cancel()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
