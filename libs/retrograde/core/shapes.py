r"""The fixed shapes of a told walk: returns, the final answer, and how returns are counted in a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from retrograde.core.problem import Problem

if TYPE_CHECKING:
    from retrograde.tasks.task import Phrases, Task

BOX = r"\boxed{"
ANSWER = "The final answer is \\boxed{{{answer}}}.\n"
RETURNS = ("Let's go back to", "Let's restart our solution")


def return_phrase(task: Task, problem: Problem, steps: Sequence[str]) -> str:
    """The sentence that returns to the state after `steps`; with no steps, the restart from the beginning."""
    shape = task.phrases.go_back if steps else task.phrases.restart
    return shape.format(recall=task.recall(problem, steps))


def answer_phrase(answer: str) -> str:
    """The sentence that boxes `answer`, for solutions whose last step does not."""
    return ANSWER.format(answer=answer)


def count_backtracks(text: str, phrases: Phrases | None = None) -> int:
    """Returns told in `text`, real or not: occurrences of the fixed beginnings of `phrases` (default: the paper's)."""
    beginnings = (
        RETURNS if phrases is None else tuple(_beginning(shape) for shape in (phrases.go_back, phrases.restart))
    )
    return len(re.findall("|".join(re.escape(beginning) for beginning in beginnings), text))


def _beginning(shape: str) -> str:
    return shape.partition("{")[0].rstrip()
