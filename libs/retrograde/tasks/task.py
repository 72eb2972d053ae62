"""What a task must tell the platform; a task is one module with a `TASK` of this shape.

Adding one: write `retrograde/tasks/<name>.py` (or any importable module, named in the recipe with its dots) that
defines `TASK`, and name it in a recipe. Nothing else changes: search, linearizer, rewriter, verifier, training and
evaluation ask only what stands here. A task is pure: no I/O beyond reading the problem file it is given.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from retrograde.core.problem import Grade, Problem


@dataclass(frozen=True, slots=True)
class Phrases:
    """The fixed shapes of reflection (paper, section on rewriting); each text carries its own ending."""

    doubt: str = "But wait, are we solving the problem correctly so far? Hmm...\n"
    reassurance: str = "Our solution seems to be correct so far.\n"
    go_back: str = "Let's go back to where we {recall}.\n"
    restart: str = "Let's restart our solution from the beginning.\n"


class Task(Protocol):
    """How one kind of problem is asked, stepped through, and judged.

    A prompt followed by the steps' texts, joined without separator, is what the policy sees and continues.
    """

    @property
    def name(self) -> str:
        """The module's name, as recipes and problems give it."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a step; kept at the end of its text."""

    @property
    def chat(self) -> bool:
        """Whether `prompt` is a user turn for the model's chat template (True) or a plain text to continue (False)."""

    @property
    def phrases(self) -> Phrases:
        """The shapes of doubt, return and reassurance in this task's words."""

    def problems(self, options: Mapping[str, object], split: str, seed: int) -> list[Problem]:
        """The problems of a split; the same arguments give the same list. Raises TaskError naming the bad option."""

    def prompt(self, problem: Problem) -> str:
        """What the policy is asked."""

    def split(self, text: str) -> list[str]:
        """A completion cut into steps; joined again they are `text`."""

    def is_terminal(self, problem: Problem, steps: Sequence[str]) -> bool:
        """Whether the last step ends the solution, rightly or not."""

    def grade(self, problem: Problem, text: str) -> Grade:
        """Judges a whole completion, with or without backtracks. Never evaluates it as code."""

    def recall(self, problem: Problem, steps: Sequence[str]) -> str:
        """Names the state after `steps` for a return to it: the words after "Let's go back to where we"."""

    def returns(self, problem: Problem, text: str) -> tuple[int, int]:
        """(returns to an earlier state told in `text`, those of them that name a real earlier state)."""

    def verdict_start(self, step: str) -> int | None:
        """Character offset from which a terminal step states its own verdict; None when it states none.

        Training that masks the steps of wrong branches keeps the loss from here on: saying "that is not the target"
        is right even after a wrong step.
        """

    def step_prompt(self, problem: Problem, so_far: str, step: str) -> str:
        """Few-shot request to an LLM to retell `step` as prose that continues `so_far`."""

    def judge_prompt(self, problem: Problem, text: str) -> tuple[str, str]:
        """(prompt, start of the answer that means yes) by which the policy judges its own solution."""


class TaskError(ValueError):
    """A task or one of its options is wrong; the message names the field, the value and the fix."""


def load_task(name: str) -> Task:
    """The task called `name`: a module of this package, or any importable module if the name has dots."""
    module_name = name if "." in name else f"retrograde.tasks.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise TaskError(
            f"task: {name!r} is unknown; use a module of retrograde.tasks or a dotted module name"
        ) from error
    return cast("Task", module.TASK)
