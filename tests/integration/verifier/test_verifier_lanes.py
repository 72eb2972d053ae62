"""Deadlines, callers that leave, seats for late items, and the same grades however a batch is cut."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from retrograde.core.problem import Problem, Verdict
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.pool import Pool
from retrograde.sandbox.worker import Ending, Outcome
from retrograde.v1 import problem_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.convert import grade_from_proto, problem_to_proto
from tests.integration.verifier.bombs import BOMBS, GOOD
from tests.integration.verifier.serving import HOSTILE

DEADLINE_SECONDS = 3.0


def item(text: str, gold: str = "ok") -> pb.VerifyItem:
    return pb.VerifyItem(problem=problem_pb2.Problem(id="p", task=HOSTILE, gold=gold), text=text)


def message(problem: Problem, text: str) -> pb.VerifyItem:
    return pb.VerifyItem(problem=problem_to_proto(problem), text=text)


def limits(**changes: object) -> Limits:
    base = {"num_workers": 2, "deadline_seconds": DEADLINE_SECONDS, "memory_bytes": 1 << 28, "tasks": (HOSTILE,)}
    return Limits.model_validate(base | changes)


async def until(pool: Pool, num_runs: int) -> None:
    """Waits until so many chunks are at work."""
    async with asyncio.timeout(60):
        while len(pool._runs) != num_runs:
            await asyncio.sleep(0.02)


async def test_every_bomb_ends_by_its_deadline() -> None:
    """Counted from when it is taken in hand, a hanging item is killed at its deadline, at most 10 % later."""
    ends: list[Outcome] = []
    async with Pool(limits(), on_end=ends.append) as pool:
        await pool.verify([item("loop"), item("c-loop"), item("sleep 600"), item("ok")] * 3)
    killed = [end.seconds for end in ends if end.ending is Ending.TIMED_OUT]
    assert len(killed) == 9
    assert min(killed) >= DEADLINE_SECONDS
    assert max(killed) <= DEADLINE_SECONDS * 1.1


async def test_another_try_has_the_rest_of_the_deadline() -> None:
    """When somebody kills the worker of a hanging item, the time it had counts: the tries share one deadline."""
    ends: list[Outcome] = []
    async with Pool(limits(num_workers=1), on_end=ends.append) as pool:
        hanging = asyncio.create_task(pool.verify([item("loop")]))
        await until(pool, 1)
        await asyncio.sleep(DEADLINE_SECONDS / 2)
        for worker in pool.workers:
            os.kill(worker.pid, signal.SIGKILL)
        (grade,) = await hanging
    assert grade_from_proto(grade).verdict is Verdict.TIMEOUT
    assert [end.ending for end in ends] == [Ending.DIED, Ending.TIMED_OUT]
    assert sum(end.seconds for end in ends) <= DEADLINE_SECONDS * 1.1


async def test_what_nobody_waits_for_is_ended() -> None:
    """The worker at an item whose caller has left is killed long before the deadline, and the rest is never begun."""
    ends: list[Outcome] = []
    async with Pool(limits(num_workers=1, deadline_seconds=600.0), on_end=ends.append) as pool:
        gone = asyncio.create_task(pool.verify([item("sleep 0.1"), item("loop"), *[item("sleep 500")] * 9]))
        await until(pool, 1)
        await asyncio.sleep(0.2)
        gone.cancel()
        await until(pool, 0)
        assert (pool.num_waiting, pool.num_bytes) == (0, 0)
        assert [end.ending for end in ends] == [Ending.ABANDONED]


async def test_what_others_wait_for_goes_on() -> None:
    """Items of a caller who stayed are graded, although they shared a chunk with those of one who left."""
    async with Pool(limits(num_workers=1, deadline_seconds=600.0)) as pool:
        busy = asyncio.create_task(pool.verify([item("sleep 0.2")]))
        await until(pool, 1)
        gone = asyncio.create_task(pool.verify([item("loop")] * 8))
        staying = asyncio.create_task(pool.verify([item("ok"), item("no")] * 8))
        await busy
        gone.cancel()
        grades = await asyncio.wait_for(staying, timeout=60)
        assert Counter(grade_from_proto(grade).verdict for grade in grades) == {
            Verdict.CORRECT: 8,
            Verdict.INCORRECT: 8,
        }


async def test_slow_items_wait_for_a_late_seat() -> None:
    """With one seat for late items, several slow ones follow each other there and each gets its own verdict."""
    ends: list[Outcome] = []
    async with Pool(limits(num_late_workers=1, deadline_seconds=60.0), on_end=ends.append) as pool:
        grades = await pool.verify([item("sleep 1"), item("ok")] * 4)
    assert [grade.reason for grade in grades] == ["slept", "compared"] * 4
    assert {end.ending for end in ends} == {Ending.DISPLACED}


async def test_a_pool_that_is_left_begins_nothing() -> None:
    """Leaving it while much waits ends its processes and starts no other."""
    async with Pool(limits(chunk_items=1)) as pool:
        waiting = asyncio.create_task(pool.verify([item("sleep 0.1")] * 100))
        await until(pool, 2)
    assert (pool.workers, pool._runs, pool.num_waiting) == (set(), set(), 98)
    waiting.cancel()


@pytest.mark.parametrize("changes", [{"chunk_items": 1}, {"chunk_items": 7, "num_workers": 3}])
async def test_grades_do_not_depend_on_the_cut(changes: dict[str, int]) -> None:
    """The same batch of bombs and good answers, cut otherwise over other workers, has the same grades to the letter."""
    messages = [message(*bomb) for bomb in BOMBS] + [message(*good) for good, _ in GOOD]
    async with Pool(limits(deadline_seconds=60.0)) as pool:
        expected = await pool.verify(messages)
    async with Pool(limits(deadline_seconds=60.0, **changes)) as pool:
        assert await pool.verify(messages) == expected
        assert await pool.verify(messages[::-1]) == expected[::-1]


async def test_children_go_first_when_memory_ends() -> None:
    """The kernel, out of memory, ends a child before the service that watches it."""
    async with Pool(limits(num_workers=1)) as pool:
        await pool.verify([item("ok")])
        (worker,) = pool.workers
        assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "1000\n"


def test_children_are_warm() -> None:
    """The process that children are forked from has every module of the grader and of the tasks in memory."""
    code = (
        "import pkgutil, sys, retrograde.grading, retrograde.tasks\n"
        "from retrograde.sandbox import forkserver\n"
        "forkserver._warm([])\n"
        "packages = (retrograde.grading, retrograde.tasks)\n"
        "names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')]\n"
        "print(len(names) > 5, [name for name in names if name not in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "True []\n"
