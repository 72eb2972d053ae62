r"""What a clause says about letters: "where k is an integer", "k \\in \\mathbb{Z}", "for any constant c > 0"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from retrograde.grading.tokens import Kind, Token

_INTEGERS = frozenset({"integer", "integers", "natural", "whole"})
_GREATER, _LESS = frozenset({">", "ge"}), frozenset({"<", "le"})
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
    sign: str = "any"  # of the free ones: "positive", "negative" or "any"


def declared(clause: Sequence[Token]) -> Declared:
    """What `clause` says."""
    words = {token.word for token in clause}
    names = frozenset(token.text for token in clause if token.kind is Kind.NAME)
    letters = frozenset(name for name in names if name[0] not in "\\~") - _NOT_LETTERS
    if words & _INTEGERS or names & WHOLE_DOMAINS.keys() or any(token.text == "ldots" for token in clause):
        return Declared(letters, _first(clause, words, names))
    sign = _sign(clause, words)
    is_free = words & _ANY or names & FIELDS or sign != "any"
    return Declared(frozenset(), None, letters if is_free else frozenset(), sign)


def _sign(clause: Sequence[Token], words: set[str]) -> str:
    """The sign that is said of letters: "positive", `c > 0`, `0 < c`."""
    for before, token in pairwise(clause):
        if token.text in _GREATER | _LESS:
            is_above = (token.text in _GREATER) == (before.kind is Kind.NAME)
            return "positive" if is_above else "negative"
    return next((sign for sign in ("positive", "negative") if sign in words), "any")


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
