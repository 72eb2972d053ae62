"""What an answer is once it is read: a small tree that only this package builds and only this package evaluates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


class UnreadableError(ValueError):
    """The text is no mathematics that this package reads; the message says where it stopped."""


class CostError(ValueError):
    """The expression is too large to judge; the message says which limit it passes."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational; `places` is the number of decimals it was written with, None for no decimal point."""

    value: Fraction
    places: int | None = None
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a constant ("pi", "e", "i", "oo")."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation on its arguments: add, mul, div, pow, neg, pm, factorial, binom, abs, root, log, sin, ..."""

    operation: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """Several answers: `kind` is "{}" (a set), "," (a bare list), "()" "[]" "(]" "[)" (a tuple or an interval)."""

    kind: str
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain like `x = 3` or `1 < x <= 2`: n sides and n - 1 signs."""

    sides: tuple[Expression, ...]
    signs: tuple[str, ...]


Expression = Number | Symbol | Apply | Collection | Relation
CONSTANTS = frozenset({"pi", "e", "i", "oo"})


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct parts of `expression`."""
    match expression:
        case Apply(_, arguments):
            return arguments
        case Collection(_, items):
            return items
        case Relation(sides, _):
            return sides
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """`expression` and all parts below it."""
    yield expression
    for part in children(expression):
        yield from walk(part)


def symbols(expression: Expression) -> frozenset[str]:
    """Free variables: symbols that are no constants."""
    return frozenset(part.name for part in walk(expression) if isinstance(part, Symbol)) - CONSTANTS
