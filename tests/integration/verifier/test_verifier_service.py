"""The verifier as a process: gRPC in, grades out, bad input named, SIGTERM obeyed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrograde.core.problem import Problem, Verdict
from retrograde.runtime.errors import InvalidInputError
from retrograde.wire.clients import VerifierClient
from tests.integration.verifier.serving import HOSTILE, Service, children, serving

SUM = Problem("p", "math", "2 + 2?", "4")
COUNTDOWN = Problem("c", "countdown", "Numbers: 3 7 7, target: 28.", "28")
TOLD = " 3 * 7 = 21, left: 7 21\n 21 + 7 = 28, the target is 28: yes, the answer is \\boxed{28}.\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path, num_workers=1, deadline_seconds=1.0) as started:
        yield started


async def test_grades_of_all_tasks_in_order(service: Service) -> None:
    """One batch may mix tasks and bombs: each item has its own verdict, in order."""
    items = [
        (SUM, "The answer is \\boxed{4}."),
        (COUNTDOWN, TOLD),
        (Problem("h", HOSTILE, "", "ok"), "loop"),
        (SUM, "The answer is \\boxed{5}."),
        (SUM, "I do not know"),
    ]
    async with VerifierClient(service.address) as client:
        grades = await client.verify(items)
    assert [grade.verdict for grade in grades] == [
        Verdict.CORRECT,
        Verdict.CORRECT,
        Verdict.TIMEOUT,
        Verdict.INCORRECT,
        Verdict.UNPARSABLE,
    ]


@pytest.mark.parametrize("task", ["unheard_of", "os.path", "", "../math"])
async def test_an_unknown_task_is_refused(service: Service, task: str) -> None:
    """Only tasks of the platform or of the settings are imported; others are an error that names the field."""
    async with VerifierClient(service.address) as client:
        with pytest.raises(InvalidInputError, match="task"):
            await client.verify([(Problem("p", task, "", ""), "x")])


async def test_sigterm_ends_it_with_its_children(service: Service) -> None:
    """SIGTERM ends the service with status 0, and nothing that it started is left."""
    async with VerifierClient(service.address) as client:
        await client.verify([(SUM, "\\boxed{4}")])
    started = [*children(service.process.pid), *service.workers()]
    assert len(started) >= 2
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


async def test_metrics_tell_verdict_and_path(service: Service) -> None:
    """Answers are counted by verdict and by what decided it."""
    items = [(Problem("h", HOSTILE, "", "ok"), "raise"), (Problem("h", HOSTILE, "", "ok"), "loop")]
    async with VerifierClient(service.address) as client:
        paths = [grade.path for grade in await client.verify(items)]
    assert paths == ["raised", "deadline"]
    assert service.metric('retrograde_verifier_items_total{path="raised",verdict="error"}') == 1
    assert service.metric('retrograde_verifier_items_total{path="deadline",verdict="timeout"}') == 1
    assert service.metric("retrograde_verifier_workers") >= 1
