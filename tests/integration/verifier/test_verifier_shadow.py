"""The second grader beside the first: real Math-Verify, in processes of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.wire.clients import VerifierClient
from retrograde.wire.convert import grade_to_proto, problem_to_proto
from retrograde.wire.disagreement import Opinion, read_disagreements
from services.verifier import metrics, shadow
from services.verifier.settings import VerifierSettings
from services.verifier.shadow import Shadow
from tests.integration.verifier.bombs import BOMBS, GOOD
from tests.integration.verifier.serving import children, serving

HALF = Problem("p", "math", "Half of one?", r"\frac{1}{2}")


def judged(text: str, verdict: Verdict, problem: Problem = HALF) -> tuple[pb.VerifyItem, verdict_pb2.Grade]:
    item = pb.VerifyItem(problem=problem_to_proto(problem), text=text)
    return item, grade_to_proto(Grade(verdict, "as given"))


def counted(ours: str, theirs: str, outcome: str) -> float:
    return float(metrics.SHADOW.labels(ours=ours, theirs=theirs, outcome=outcome)._value.get())


async def until_counted(ours: str, theirs: str, outcome: str, least: float) -> None:
    async with asyncio.timeout(60):
        while counted(ours, theirs, outcome) < least:
            await asyncio.sleep(0.05)


async def test_disagreements_are_counted_and_kept(tmp_path: Path) -> None:
    """A wrong verdict of ours is counted and stored with both opinions; a right one is only counted."""
    before = counted("incorrect", "correct", "disagree"), counted("correct", "correct", "agree")
    settings = VerifierSettings(shadow_share=1.0, shadow_store=f"file://{tmp_path}")
    async with Shadow(settings) as watching:
        right, wrong = judged(r"It is \boxed{0.5}.", Verdict.CORRECT), judged(r"It is \boxed{1/2}.", Verdict.INCORRECT)
        for item, grade in (right, wrong, wrong):
            watching.watch([item], [grade])
        await until_counted("incorrect", "correct", "disagree", before[0] + 2)
        await until_counted("correct", "correct", "agree", before[1] + 1)
    (kept,) = read_disagreements(DirectoryStore(tmp_path))
    assert (kept.answer, kept.gold, kept.question) == (r"It is \boxed{1/2}.", r"\frac{1}{2}", "Half of one?")
    assert (kept.ours, kept.theirs.verdict) == (Opinion("incorrect", "as given"), "correct")


async def test_other_tasks_are_left_alone() -> None:
    """A task that judges by rules of its own is not compared."""
    settings = VerifierSettings(shadow_share=1.0)
    async with Shadow(settings) as watching:
        item, grade = judged("x", Verdict.CORRECT, Problem("c", "countdown", "", "28"))
        watching.watch([item], [grade])
        assert watching._waiting.empty()


async def test_a_shadow_that_is_behind_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its line has no room for is counted and let go."""
    monkeypatch.setattr(shadow, "MAX_WAITING_BYTES", 1000)
    before = metrics.SHADOW_DROPPED.labels(reason="behind")._value.get()
    watching = Shadow(VerifierSettings(shadow_share=1.0))
    item, grade = judged("7" * 600, Verdict.INCORRECT)
    watching.watch([item, item], [grade, grade])
    assert metrics.SHADOW_DROPPED.labels(reason="behind")._value.get() == before + 1


async def test_the_service_answers_as_without_it(tmp_path: Path) -> None:
    """With the shadow on every answer, bombs among them, grades are the same; it has a fork server of its own."""
    items = [*BOMBS, *(good for good, _ in GOOD)]
    for name in ("plain", "shadow"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "plain") as service:
        async with VerifierClient(service.address) as client:
            expected = await client.verify(items)
    store = f"file://{tmp_path}/store"
    with serving(tmp_path / "shadow", shadow_share=1.0, shadow_store=store, deadline_seconds=2.0) as service:
        async with VerifierClient(service.address) as client:
            assert await client.verify(items) == expected
            agreed = 'retrograde_verifier_shadow_total{{ours="{0}",outcome="agree",theirs="{0}"}}'
            service.until(agreed.format("correct"), 1, seconds=300)
            assert await client.verify(items) == expected
        assert len(children(service.process.pid)) == 2


def test_the_service_imports_no_second_grader() -> None:
    """Neither sympy nor Math-Verify is imported by the service, the shadow's own code, or the command."""
    code = (
        "import sys, services.verifier.__main__, services.verifier.shadow, retrograde.cli.__main__\n"
        "print([name for name in ('math_verify', 'sympy') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
