"""The verifier as a process: gRPC in, grades out, bad input named, SIGTERM obeyed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from retrograde.core.problem import Problem, Verdict
from retrograde.runtime.errors import InvalidInputError
from retrograde.wire.clients import VerifierClient

HOSTILE = "tests.integration.verifier.hostile"
SUM = Problem("p", "math", "2 + 2?", "4")
COUNTDOWN = Problem("c", "countdown", "Numbers: 3 7 7, target: 28.", "28")
TOLD = " 3 * 7 = 21, left: 7 21\n 21 + 7 = 28, the target is 28: yes, the answer is \\boxed{28}.\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    config = tmp_path / "verifier.yaml"
    config.write_text(yaml.safe_dump({"num_workers": 1, "deadline_seconds": 1.0, "tasks": [HOSTILE]}))
    process = subprocess.Popen(
        [sys.executable, "-m", "services.verifier", "--config", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stderr is not None
    ready = next(line for line in map(json.loads, process.stderr) if line["event"] == "ready")
    yield ready["address"], process
    process.kill()
    process.wait()
    process.stderr.close()


async def test_grades_of_all_tasks_in_order(service: tuple[str, subprocess.Popen[str]]) -> None:
    """One batch may mix tasks and bombs: each item has its own verdict, in order."""
    items = [
        (SUM, "The answer is \\boxed{4}."),
        (COUNTDOWN, TOLD),
        (Problem("h", HOSTILE, "", "ok"), "loop"),
        (SUM, "The answer is \\boxed{5}."),
        (SUM, "I do not know"),
    ]
    async with VerifierClient(service[0]) as client:
        grades = await client.verify(items)
    assert [grade.verdict for grade in grades] == [
        Verdict.CORRECT,
        Verdict.CORRECT,
        Verdict.TIMEOUT,
        Verdict.INCORRECT,
        Verdict.UNPARSABLE,
    ]


@pytest.mark.parametrize("task", ["unheard_of", "os.path", "", "../math"])
async def test_an_unknown_task_is_refused(service: tuple[str, subprocess.Popen[str]], task: str) -> None:
    """Only tasks of the platform or of the settings are imported; others are an error that names the field."""
    async with VerifierClient(service[0]) as client:
        with pytest.raises(InvalidInputError, match="task"):
            await client.verify([(Problem("p", task, "", ""), "x")])


async def test_sigterm_ends_it_with_its_children(service: tuple[str, subprocess.Popen[str]]) -> None:
    """SIGTERM ends the service with status 0, and nothing that it started is left."""
    address, process = service
    async with VerifierClient(address) as client:
        await client.verify([(SUM, "\\boxed{4}")])
    started = _descendants(process.pid)
    assert len(started) >= 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def _descendants(pid: int) -> list[int]:
    """Processes below `pid`, whichever thread started them."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for path in lists for child in path.read_text().split()]
    return [found for child in children for found in (child, *_descendants(child))]
