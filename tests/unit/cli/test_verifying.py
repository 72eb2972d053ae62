"""`retrograde verify`: verdicts in order, from a process that may hang or die without taking the others along."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from retrograde.cli.verifying import Grader, judge, verdict_lines
from retrograde.core.problem import Verdict


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("0.5", "1/2", Verdict.CORRECT),
        ("3", "4", Verdict.INCORRECT),
        ("3*7+7", "3 7 7 -> 28", Verdict.CORRECT),
        ("3*7+3", "3 7 7 -> 28", Verdict.INCORRECT),
        ("__import__('os')", "3 7 7 -> 28", Verdict.UNPARSABLE),
    ],
)
def test_judge(answer: str, gold: str, verdict: Verdict) -> None:
    """Plain golds are compared by value, numbers with a target ask for an expression over them."""
    assert judge(answer, gold).verdict is verdict


def test_lines_come_in_order() -> None:
    """One JSON object with verdict and reason for each pair, in the pairs' order."""
    lines = [json.loads(line) for line in verdict_lines([("1", "1"), ("2", "3"), ("4", "4.0")])]
    assert [line["verdict"] for line in lines] == ["correct", "incorrect", "correct"]
    assert {key for line in lines for key in line} == {"verdict", "reason"}


def test_a_stopped_grader_is_a_timeout_and_the_next_answer_is_judged() -> None:
    """A grading process that hangs is killed at its deadline; the verdict is timeout, and the next one is right."""
    with Grader(deadline_seconds=20.0) as grader:
        assert grader.grade("1", "1").verdict is Verdict.CORRECT
        os.kill(grader._process.pid, signal.SIGSTOP)
        grader.deadline_seconds = 0.2
        began = time.monotonic()
        assert grader.grade("1", "1").verdict is Verdict.TIMEOUT
        assert time.monotonic() - began < 5.0
        grader.deadline_seconds = 20.0
        assert grader.grade("1", "1").verdict is Verdict.CORRECT


def test_a_dead_grader_is_an_error_and_the_next_answer_is_judged() -> None:
    """A grading process that dies gives error, never incorrect."""
    with Grader() as grader:
        grader.grade("1", "1")
        os.kill(grader._process.pid, signal.SIGKILL)
        grader._process.join()
        assert grader.grade("1", "1").verdict is Verdict.ERROR
        assert grader.grade("1", "1").verdict is Verdict.CORRECT
