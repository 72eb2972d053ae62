"""A task whose verdict on one text is already known: the verifier passed it, in a process that can be killed.

The invariants ask `task.grade` about a text that a model may have written; here that never runs in this process.
"""

from __future__ import annotations

from typing import Any, cast

from retrograde.core.problem import Grade, Problem
from retrograde.tasks.task import Task


class _GradedTask:
    def __init__(self, task: Task, grade: Grade) -> None:
        self._task = task
        self._grade = grade

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def grade(self, _problem: Problem, _text: str) -> Grade:
        """The verifier's."""
        return self._grade


def with_grade(task: Task, grade: Grade) -> Task:
    """`task`, which answers every question for a grade with `grade`."""
    return cast("Task", _GradedTask(task, grade))
