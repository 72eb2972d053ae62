"""64 callers at once, bombs among their answers, and a random worker killed each second: no wrong verdict, none lost.

It runs for ten seconds, or RETROGRADE_CHAOS_SECONDS; `pytest -s` shows the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.wire.clients import VerifierClient
from tests.integration.verifier.bombs import BOMBS, GOOD
from tests.integration.verifier.serving import HOSTILE, Service, children, serving

SECONDS = float(os.environ.get("RETROGRADE_CHAOS_SECONDS", "10"))
NUM_CLIENTS = 64
DEADLINE_SECONDS = 1.0
MAX_MEMORY_BYTES = 4 << 30
NOT_CORRECT = frozenset(Verdict) - {Verdict.CORRECT}
NO_STATEMENT = frozenset({Verdict.TIMEOUT, Verdict.ERROR})
FATAL = ("loop", "c-loop", "abort", "gmpy2", "hoard")
Item = tuple[Problem, str]
Expected = tuple[Item, frozenset[Verdict]]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 300)]


@dataclass
class Figures:
    """What was seen."""

    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    batches: int = 0
    longest_seconds: float = 0.0
    kills: int = 0
    unhealthy: int = 0
    memory_bytes: int = 0


def _batch(source: random.Random) -> list[Expected]:
    """Answers in any order, each with the verdicts that are not wrong; of a good one there is one."""
    batch = [(good, frozenset({verdict})) for good, verdict in source.sample(GOOD, 20)]
    batch += [(bomb, NOT_CORRECT) for bomb in source.sample(BOMBS, 2)]
    if source.random() < 0.2:
        batch.append(((Problem("b", HOSTILE, "", "ok"), source.choice(FATAL)), NO_STATEMENT))
    source.shuffle(batch)
    return batch


async def _call(service: Service, source: random.Random, end: float, seen: Figures) -> None:
    """One caller: a batch after the other until the time is over."""
    async with VerifierClient(service.address) as client:
        while time.monotonic() < end:
            batch = _batch(source)
            began = time.monotonic()
            grades = await client.verify([item for item, _ in batch])
            seen.longest_seconds = max(seen.longest_seconds, time.monotonic() - began)
            seen.batches += 1
            _compare(batch, grades, seen)


def _compare(batch: Sequence[Expected], grades: Sequence[Grade], seen: Figures) -> None:
    assert len(grades) == len(batch)
    for ((problem, text), expected), grade in zip(batch, grades, strict=True):
        seen.verdicts[grade.verdict.value] += 1
        if grade.verdict not in expected:
            seen.wrong.append(f"{problem.id} {text[:80]!r} against {problem.gold!r}: {grade}"[:400])


async def _kill(service: Service, source: random.Random, end: float, seen: Figures) -> None:
    """Kills a worker each second, and the fork server once."""
    half = time.monotonic() + SECONDS / 2
    while time.monotonic() < end:
        await asyncio.sleep(1.0)
        victims = service.workers()
        if time.monotonic() > half:
            victims, half = children(service.process.pid), end
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(source.choice(victims), signal.SIGKILL)
            seen.kills += 1
        seen.memory_bytes = max(seen.memory_bytes, service.memory_bytes())
        seen.unhealthy += not await asyncio.to_thread(service.is_healthy)


async def test_no_wrong_verdict_and_none_lost(tmp_path: Path) -> None:
    """Every item of every batch has its right verdict, the service stays healthy, and its memory bounded."""
    seen = Figures()
    with serving(tmp_path, deadline_seconds=DEADLINE_SECONDS, memory_bytes=1 << 28) as service:
        end = time.monotonic() + SECONDS
        callers = [_call(service, random.Random(number), end, seen) for number in range(NUM_CLIENTS)]
        await asyncio.gather(*callers, _kill(service, random.Random(-1), end, seen))
    figures = {**vars(seen), "wrong": len(seen.wrong)}
    print(json.dumps(figures))  # noqa: T201 - for `pytest -s`
    assert seen.wrong == []
    assert seen.batches >= NUM_CLIENTS
    assert seen.kills >= SECONDS / 4
    assert seen.unhealthy == 0
    assert seen.memory_bytes < MAX_MEMORY_BYTES
