"""Questions, answers and golds for the verifier's benches, drawn by a random source."""

from __future__ import annotations

import functools
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

LABELLED = Path(__file__).resolve().parents[1] / "tests/data/grading/labelled.jsonl"
_WHOLE_COMPLETIONS = "extraction"  # the form whose answers are no bare answers
_LARGEST = 10**9
_STATIC_BOMBS = ("9^{9^{9^9}}", "1000000000!", "\\binom{10^9}{5}", "e^{10^{30}}", "(" * 900)
_STATIC_SHARE = 20  # one in so many of the hostile bench's other items is one of these


@dataclass(frozen=True, slots=True)
class Told:
    """A bare answer to a question, and the gold."""

    answer: str
    gold: str
    question: str = ""

    @property
    def completion(self) -> str:
        """A short completion that ends with the answer in a box."""
        if "\\boxed" in self.answer:
            return self.answer
        return f"We put both together and simplify, so the answer is $\\boxed{{{self.answer}}}$."


@functools.cache
def _labelled() -> tuple[Told, ...]:
    rows = map(json.loads, LABELLED.read_text(encoding="utf-8").splitlines())
    return tuple(
        Told(row["answer"], row["gold"], row.get("question", "")) for row in rows if row["form"] != _WHOLE_COMPLETIONS
    )


def labelled_answers(source: random.Random, num_answers: int) -> list[Told]:
    """Answers of all forms, right and wrong: the grader's labelled pairs, all of them before any comes again.

    Each comes with a question of its own, as in production, so that none was ever asked before.
    """
    answers: list[Told] = []
    while len(answers) < num_answers:
        answers += source.sample(_labelled(), len(_labelled()))
    return [replace(told, question=f"{told.question} ({_name(source)})") for told in answers[:num_answers]]


def _name(source: random.Random) -> str:
    """Consonants that are no word."""
    return "".join(source.choices("bcdfghjklmnpqrstvwxz", k=12))


def hostile_answers(source: random.Random, num_answers: int) -> list[Told]:
    """Answers of all forms, some of them such as a grader has to refuse unread."""
    answers = labelled_answers(source, num_answers)
    for index in range(0, num_answers, _STATIC_SHARE):
        answers[index] = Told(source.choice(_STATIC_BOMBS), answers[index].gold)
    return answers


def integer_answers(source: random.Random, num_answers: int) -> list[Told]:
    """Integers below 10^9, every second one unequal to its gold."""
    numbers = [source.randrange(_LARGEST) for _ in range(num_answers)]
    return [Told(str(number), str(number + index % 2)) for index, number in enumerate(numbers)]


def identical_answers(source: random.Random, num_answers: int) -> list[Told]:
    """Fractions, roots, polynomials, pairs and intervals, told exactly as the gold is written."""
    shapes = ("\\frac{%d}{%d}", "%d\\sqrt{%d}", "%dx^2 + %dx", "(%d, %d)", "[%d, %d)")
    golds = [
        source.choice(shapes) % (source.randrange(2, _LARGEST), source.randrange(2, _LARGEST))
        for _ in range(num_answers)
    ]
    return [Told(gold, gold) for gold in golds]
