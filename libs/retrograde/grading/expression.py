"""What an answer is once it is read: a small tree that only this package builds and only this package evaluates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from retrograde.grading.units import Unit


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
class Quantity:
    """A value with a unit of measurement."""

    value: Expression
    unit: Unit


@dataclass(frozen=True, slots=True)
class Collection:
    """Several answers.

    `kind` is "{}" (a set), "," (a bare list), "or" (a list of alternatives), "()" "[]" "(]" "[)" "][" (a tuple or an
    interval), "cup" "cap" "setminus" (of sets), "matrix" (of "()" rows), ":" (a ratio of three or more).
    """

    kind: str
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain like `x = 3`, `1 < x <= 2` or `n ~= 1.4`: n sides and n - 1 signs."""

    sides: tuple[Expression, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """All values of `body` as its integer `parameters` run from `first` on (None: over all integers).

    Where the range is not declared it is taken from what the family is compared with.
    """

    body: Expression
    parameters: frozenset[str]
    first: int | None = None
    is_declared: bool = True


Expression = Number | Symbol | Apply | Quantity | Collection | Relation | Family
CONSTANTS = frozenset({"pi", "e", "i", "oo"})
DOMAINS = frozenset({"\\Z", "\\N", "\\W", "\\Q", "\\R", "\\C", "\\ldots"})


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct parts of `expression`."""
    match expression:
        case Apply(_, arguments):
            return arguments
        case Collection(_, items):
            return items
        case Relation(sides, _):
            return sides
        case Quantity(value, _):
            return (value,)
        case Family(body, _):
            return (body,)
        case _:
            return ()


def rebuilt(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """`expression` with `change` made to each of its direct parts."""
    match expression:
        case Apply(operation, arguments):
            return Apply(operation, tuple(change(part) for part in arguments))
        case Collection(kind, items):
            return Collection(kind, tuple(change(part) for part in items))
        case Relation(sides, signs):
            return Relation(tuple(change(part) for part in sides), signs)
        case Quantity(value, unit):
            return Quantity(change(value), unit)
        case Family(body, parameters, first, is_declared):
            return Family(change(body), parameters, first, is_declared)
        case _:
            return expression


def walk(expression: Expression) -> Iterator[Expression]:
    """`expression` and all parts below it."""
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += children(part)[::-1]


def height(expression: Expression) -> int:
    """Levels of the tree, without recursion."""
    level, levels = [expression], 0
    while level:
        level = [part for parent in level for part in children(parent)]
        levels += 1
    return levels


def symbols(expression: Expression) -> frozenset[str]:
    """Free variables: symbols that are no constants and not bound by a sum, product or integral."""
    bound: set[str] = set()
    found: set[str] = set()
    for part in walk(expression):
        if isinstance(part, Symbol):
            found.add(part.name)
        elif isinstance(part, Apply) and part.operation in BINDERS and isinstance(part.arguments[0], Symbol):
            bound.add(part.arguments[0].name)
    return frozenset(found - bound) - CONSTANTS - DOMAINS


BINDERS = frozenset({"sum", "prod", "int"})  # (bound symbol, from, to, body)


def renamed(expression: Expression, names: dict[str, str]) -> Expression:
    """`expression` with symbols renamed."""
    if isinstance(expression, Symbol):
        return Symbol(names.get(expression.name, expression.name))
    return rebuilt(expression, lambda part: renamed(part, names))


def replaced(expression: Expression, name: str, value: Expression) -> Expression:
    """`expression` with `value` in place of the symbol `name`."""
    if isinstance(expression, Symbol):
        return value if expression.name == name else expression
    return rebuilt(expression, lambda part: replaced(part, name, value))


def negated(expression: Expression) -> Expression:
    """Minus `expression`."""
    return Apply("neg", (expression,))


def difference(left: Expression, right: Expression) -> Expression:
    """`left` minus `right`."""
    return Apply("add", (left, negated(right)))
