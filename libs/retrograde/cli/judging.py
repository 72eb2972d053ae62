"""The grader behind `retrograde verify`, as a task that can only grade: run in the sandbox's processes."""

from __future__ import annotations

import re

from retrograde.core.problem import Grade, Problem
from retrograde.grading import grade
from retrograde.tasks.countdown import grade_expression

_COUNTDOWN_GOLD = re.compile(r"\s*\d+(?:[ ,]+\d+)+\s*->\s*\d+\s*")


class BareAnswer:
    """Only `grade` is ever asked."""

    name = "retrograde.cli.judging"

    def grade(self, problem: Problem, text: str) -> Grade:
        """A gold such as `3 7 7 -> 28` asks for an expression over these numbers, any other for its value."""
        if _COUNTDOWN_GOLD.fullmatch(problem.gold):
            return grade_expression(text, problem.gold)
        return grade(text, problem.gold, question=problem.statement)


TASK = BareAnswer()
