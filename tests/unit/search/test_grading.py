"""Concurrent questions to the verifier share a call, and each caller gets its own grades."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.runtime.errors import UnavailableError
from services.search.grading import GradeBatcher

PROBLEM = Problem("p", "countdown", "", "1")


class EchoVerifier:
    """The reason of a grade is the text that was graded; keeps the texts of each call."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls: list[list[str]] = []
        self.fails = fails

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        if self.fails:
            raise UnavailableError("away")
        self.calls.append([text for _, text in items])
        await asyncio.sleep(0.01)
        return [Grade(Verdict.CORRECT, text) for _, text in items]


def items(*texts: str) -> list[tuple[Problem, str]]:
    return [(PROBLEM, text) for text in texts]


def reasons(grades: Sequence[Grade]) -> list[str]:
    return [grade.reason for grade in grades]


async def test_callers_within_the_wait_share_one_call() -> None:
    """Three callers, one call, and everybody's own grades in order."""
    verifier = EchoVerifier()
    batcher = GradeBatcher(verifier, max_items=100, wait_seconds=0.01)
    asked = [batcher.verify(items("a", "b")), batcher.verify(items("c")), batcher.verify(items("d", "e"))]
    assert [reasons(grades) for grades in await asyncio.gather(*asked)] == [["a", "b"], ["c"], ["d", "e"]]
    assert verifier.calls == [["a", "b", "c", "d", "e"]]


async def test_full_batch_does_not_wait() -> None:
    """`max_items` sends at once, however long the wait; who comes later is in the next call."""
    verifier = EchoVerifier()
    batcher = GradeBatcher(verifier, max_items=2, wait_seconds=60)
    async with asyncio.timeout(5):
        await asyncio.gather(batcher.verify(items("a")), batcher.verify(items("b")), batcher.verify(items("c", "d")))
    assert verifier.calls == [["a", "b"], ["c", "d"]]


async def test_nothing_to_grade_asks_nobody() -> None:
    """No items, no call."""
    verifier = EchoVerifier()
    assert await GradeBatcher(verifier, 2, 0.0).verify([]) == []
    assert verifier.calls == []


async def test_failed_call_fails_each_of_its_callers() -> None:
    """The verifier's error reaches everybody who waited for that call."""
    batcher = GradeBatcher(EchoVerifier(fails=True), 100, 0.001)
    results = await asyncio.gather(batcher.verify(items("a")), batcher.verify(items("b")), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError, UnavailableError]


async def test_cancelled_caller_disturbs_nobody() -> None:
    """The call goes on for the others."""
    batcher = GradeBatcher(EchoVerifier(), 100, 0.01)
    gone = asyncio.create_task(batcher.verify(items("a")))
    stays = asyncio.create_task(batcher.verify(items("b")))
    await asyncio.sleep(0)
    gone.cancel()
    assert reasons(await stays) == ["b"]
    with pytest.raises(asyncio.CancelledError):
        await gone
