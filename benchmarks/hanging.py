"""A task for the hostile bench: the text "hang" is never graded, every other one is graded as mathematics.

The grader itself refuses what would cost too much, so a real hang has to be made.
"""

from __future__ import annotations

from retrograde.core.problem import Grade, Problem
from retrograde.tasks.math import TASK as MATH

HANG = "hang"


class HangingTask:
    """Only `grade` is ever asked."""

    name = "benchmarks.hanging"

    def grade(self, problem: Problem, text: str) -> Grade:
        """Grades `text`, or loops until killed."""
        while text == HANG:
            pass
        return MATH.grade(problem, text)


TASK = HangingTask()
