"""Forty bombs and forty good answers in one batch, through the service as it runs."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

from retrograde.core.problem import Problem, Verdict
from retrograde.runtime.errors import UnavailableError
from retrograde.wire.clients import VerifierClient
from tests.integration.verifier.bombs import BOMBS, GOOD
from tests.integration.verifier.serving import HOSTILE, serving

DEADLINE_SECONDS = 3.0
MEMORY_BYTES = 1 << 28
NUM_LATE = 8
HANGS = ["loop", "c-loop", "sleep 3600"] * 8
ENDS = ["memory"] * 4 + ["abort"] * 4 + ["gmpy2"] * 2 + ["raise"] * 2
HOARDS = ["hoard"] * 4  # on a busy machine they do not reach their memory limit by the deadline
TIMED_OUT = 'retrograde_verifier_worker_end_seconds_{}{{reason="timed_out"}}'


def test_there_are_forty_of_each() -> None:
    """As many as the batch is meant to hold."""
    assert (len(BOMBS), len(GOOD), len(HANGS + ENDS + HOARDS)) == (40, 40, 40)


@pytest.mark.parametrize("backend", ["", "1"], ids=["gmpy2", "without gmpy2"])
async def test_bombs_for_the_grader(tmp_path: Path, backend: str) -> None:
    """No bomb is called right, every good answer is judged rightly, memory stays bounded, with gmpy2 and without."""
    assert importlib.util.find_spec("gmpy2"), "run `make setup`"
    with serving(tmp_path, {"MPMATH_NOGMPY": backend}, deadline_seconds=DEADLINE_SECONDS) as service:
        mixed = [item for bomb, (good, _) in zip(BOMBS, GOOD, strict=True) for item in (bomb, good)]
        async with VerifierClient(service.address) as client:
            grades = await client.verify(mixed)
            again = await client.verify(mixed)
        assert [grade.verdict for grade in grades[1::2]] == [verdict for _, verdict in GOOD]
        assert [grade.reason for grade in grades[::2] if grade.verdict is Verdict.CORRECT] == []
        assert grades == again
        assert service.is_healthy()
        assert service.memory_bytes() < 3 << 30


async def test_bombs_that_really_go_off(tmp_path: Path) -> None:
    """Hanging, hoarding and aborting: each has its own outcome by its deadline + 10 %, each good answer is right."""
    settings = {"num_workers": 2, "num_late_workers": NUM_LATE, "memory_bytes": MEMORY_BYTES}
    with serving(tmp_path, deadline_seconds=DEADLINE_SECONDS, **settings) as service:
        bombs = [(Problem("b", HOSTILE, "", "ok"), text) for text in HANGS + ENDS + HOARDS]
        mixed = [item for bomb, (good, _) in zip(bombs, GOOD, strict=True) for item in (bomb, good)]
        async with VerifierClient(service.address) as client:
            grades = await client.verify(mixed)
        assert [grade.verdict for grade in grades[1::2]] == [verdict for _, verdict in GOOD]
        verdicts = [grade.verdict for grade in grades[::2]]
        assert verdicts[: -len(HOARDS)] == [Verdict.TIMEOUT] * len(HANGS) + [Verdict.ERROR] * len(ENDS)
        assert set(verdicts[-len(HOARDS) :]) <= {Verdict.TIMEOUT, Verdict.ERROR}
        num_killed = verdicts.count(Verdict.TIMEOUT)
        assert service.metric(TIMED_OUT.format("count")) == num_killed
        assert service.metric(TIMED_OUT.format("sum")) <= num_killed * DEADLINE_SECONDS * 1.1
        assert service.is_healthy()
        assert service.memory_bytes() < 3 << 30


async def test_another_caller_is_not_held_up(tmp_path: Path) -> None:
    """While forty hanging answers of one caller are being killed, the single good answers of another are judged."""
    with serving(tmp_path, num_workers=2, num_late_workers=2, deadline_seconds=60.0) as service:
        async with VerifierClient(service.address) as bomber, VerifierClient(service.address) as client:
            hanging = [(Problem("b", HOSTILE, "", "ok"), "loop")] * 40
            bombs = asyncio.create_task(bomber.verify(hanging))
            for (problem, answer), verdict in GOOD:
                (grade,) = await client.verify([(problem, answer)])
                assert grade.verdict is verdict
            assert not bombs.done()
            bombs.cancel()


async def test_a_call_past_its_deadline_is_given_up(tmp_path: Path) -> None:
    """Once the caller's own deadline has passed nothing of its batch waits or runs any more."""
    with serving(tmp_path, num_workers=2, deadline_seconds=600.0) as service:
        hanging = [(Problem("b", HOSTILE, "", "ok"), "loop")] * 10
        async with VerifierClient(service.address, deadline_seconds=1.5) as client:
            with pytest.raises(UnavailableError):
                await client.verify(hanging)
        service.until('retrograde_verifier_worker_end_seconds_count{reason="abandoned"}', 1)
        assert service.metric("retrograde_verifier_waiting_items") == 0
        assert service.metric("retrograde_verifier_held_bytes") == 0
        async with VerifierClient(service.address) as client:
            assert len(await client.verify([good for good, _ in GOOD])) == len(GOOD)
