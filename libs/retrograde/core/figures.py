"""The numbers in a text: what a retold step may say and what it must say.

Signs are not told apart from subtraction, so a number is its digits: "-3", "3" and "3.0" are one number, "1,234" and
"1234" too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from retrograde.core.problem import Problem

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?")
_LATEX_COMMA = re.compile(r"\{,\}|,\\!")


def numbers(text: str) -> frozenset[Decimal]:
    """The numbers written in `text` with digits."""
    plain = _LATEX_COMMA.sub(",", text)
    return frozenset(Decimal(match.replace(",", "")) for match in _NUMBER.findall(plain))


def foreign_numbers(problem: Problem, steps: Sequence[str], text: str) -> frozenset[Decimal]:
    """Numbers of `text` that neither the problem nor the steps up to the retold one (the last of `steps`) hold."""
    return numbers(text) - numbers(problem.statement).union(*map(numbers, steps))


def missing_numbers(problem: Problem, steps: Sequence[str], text: str) -> frozenset[Decimal]:
    """What the last of `steps` found (its numbers that stood nowhere before) and `text` does not say."""
    *before, step = steps
    return numbers(step) - numbers(problem.statement).union(*map(numbers, before)) - numbers(text)
