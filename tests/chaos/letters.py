"""A task that a dozen tokens can learn: right is an answer with the letter a twice."""

from __future__ import annotations

import random
from collections.abc import Mapping

from retrograde.core.problem import Grade, Problem, Verdict

LETTERS = "abcdefgh"
NUM_ASKED = 4


class Letters:
    """As much of a task as rollouts ask for."""

    name = "tests.chaos.letters"
    chat = False

    def problems(self, options: Mapping[str, int], split: str, seed: int) -> list[Problem]:
        """`count` random words."""
        rng = random.Random(f"{split}:{seed}")
        words = ["".join(rng.choices(LETTERS, k=NUM_ASKED)) for _ in range(options["count"])]
        return [Problem(f"{i}-{word}", self.name, word, gold="a") for i, word in enumerate(words)]

    def prompt(self, problem: Problem) -> str:
        return f"{problem.statement}:"

    def grade(self, problem: Problem, text: str) -> Grade:
        return Grade(Verdict.CORRECT if text.count(problem.gold) > 1 else Verdict.INCORRECT)

    def returns(self, problem: Problem, text: str) -> tuple[int, int]:
        del problem, text
        return 0, 0


TASK = Letters()
