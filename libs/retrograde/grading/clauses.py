r"""What a clause says about letters: "where k is an integer", "k \\in \\mathbb{Z}", "for any constant c > 0"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from retrograde.grading.tokens import Kind, Token

_INTEGERS = frozenset({"integer", "integers", "natural", "whole"})
_POSITIVE = frozenset({"positive", "natural"})
_FROM_ZERO = frozenset({"nonnegative", "negative"})  # "non-negative" is two words
_ANY = frozenset({"constant", "constants", "arbitrary", "real", "reals", "any", "some", "every", "all", "free"})
WHOLE_DOMAINS = {"\\Z": None, "\\N": 1, "\\W": 0}
FIELDS = frozenset({"\\R", "\\C", "\\Q"})
_NOT_LETTERS = frozenset({"oo", "pi", "e", "i"})


@dataclass(frozen=True, slots=True)
class Declared:
    """Letters that run over the integers from `first` on (None: over all), and letters that stand for any number."""

    parameters: frozenset[str] = frozenset()
    first: int | None = None
    free: frozenset[str] = frozenset()
    is_positive: bool = False  # of the free ones


def declared(clause: Sequence[Token]) -> Declared:
    """What `clause` says."""
    words = {token.word for token in clause}
    names = frozenset(token.text for token in clause if token.kind is Kind.NAME)
    letters = frozenset(name for name in names if name[0] not in "\\~") - _NOT_LETTERS
    if words & _INTEGERS or names & WHOLE_DOMAINS.keys() or any(token.text == "ldots" for token in clause):
        return Declared(letters, _first(clause, words, names))
    is_positive = "positive" in words or any(token.text in {">", "ge", "<", "le"} for token in clause)
    return Declared(
        frozenset(), None, letters if words & _ANY or names & FIELDS or is_positive else frozenset(), is_positive
    )


def _first(clause: Sequence[Token], words: set[str], names: frozenset[str]) -> int | None:
    """Where the integers begin; None for all of them."""
    for before, token in pairwise(clause):
        if before.text in {"ge", ">", "="} and token.kind is Kind.NUMBER and token.text.isdigit():
            return int(token.text) + (before.text == ">")
    if words & _FROM_ZERO:
        return 0
    if words & _POSITIVE:
        return 1
    return next((start for name, start in WHOLE_DOMAINS.items() if name in names and start is not None), None)
