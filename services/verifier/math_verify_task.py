"""The second grader: Math-Verify, as a task that can only grade. Imported by the shadow's processes alone.

Its own time limits are signals within the process and are turned off: ours come from outside. Its failures are
reported as such, where it would call the answer wrong.
"""

from __future__ import annotations

import logging

from math_verify import parse, verify

from retrograde.core.problem import Grade, Problem, Verdict

_SHOWN_CHARS = 80
_BARE_CHARS = 200
_MARKS = ("$", "\\boxed", "\\(", "\\[", "answer", "\n")  # of a completion around the answer


class MathVerifyTask:
    """Only `grade` is ever asked."""

    name = "services.verifier.math_verify_task"

    def grade(self, problem: Problem, text: str) -> Grade:
        """Their verdict on the answer that they find in the text."""
        gold = _read(problem.gold)
        if not gold:
            return Grade(Verdict.ERROR, "the gold cannot be read")
        answer = _read(text)
        if not answer:
            return Grade(Verdict.UNPARSABLE, "no answer can be read")
        return Grade(_compare(gold, answer), f"{_shown(answer)} against {_shown(gold)}")


def _read(text: str) -> list[object]:
    """What they read in `text`; a bare answer is marked as mathematics for them."""
    is_bare = len(text) <= _BARE_CHARS and not any(mark in text for mark in _MARKS)
    marked: list[object] = parse(f"${text}$", parsing_timeout=None) if is_bare else []
    return marked or list(parse(text, parsing_timeout=None))


def _compare(gold: list[object], answer: list[object]) -> Verdict:
    """Raises what the comparison raises, if no other comparison says they are equal."""
    if verify(gold, answer, timeout_seconds=None):
        return Verdict.CORRECT
    verify(gold, answer, timeout_seconds=None, raise_on_error=True)
    return Verdict.INCORRECT


def _shown(parsed: list[object]) -> str:
    """What was read; it is the first candidate's own spelling."""
    return str(parsed[0])[:_SHOWN_CHARS]


logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its own limits are off
TASK = MathVerifyTask()
