"""Letters that may have other names, and those that are directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import permutations

from retrograde.grading.expression import (
    Apply,
    Collection,
    Expression,
    Number,
    Relation,
    Symbol,
    renamed,
    replaced,
    symbols,
)
from retrograde.grading.relations import function_head

_NUMBERED = frozenset({"c_1", "c_2", "C_1", "C_2"})
_PARAMETERS = frozenset("kmnlctsrjhCKABD") | _NUMBERED | {"lambda", "mu"}  # of points, lines and lists
_COEFFICIENTS = frozenset("abcdhkmnpqrsABCDKR") | _NUMBERED  # of functions
_INTEGRATION = frozenset("cCK") | _NUMBERED
_VARIABLES = frozenset("xytz")
_DIRECTIONS = ("\\uniti", "\\unitj", "\\unitk")
_MAX_RENAMED = 3
_FREE = ("any ", "positive ", "negative ")


def renamings(answer: Expression, gold: Expression, nameless: frozenset[str]) -> Iterator[Expression]:
    """`answer` with its arbitrary letters called as in `gold`, in every order; `nameless` are arbitrary unsaid."""
    told, asked = sorted(symbols(answer) - symbols(gold)), sorted(symbols(gold) - symbols(answer))
    if not 0 < len(told) == len(asked) <= _MAX_RENAMED:
        return
    for order in permutations(asked):
        if all(_may_be(*pair, nameless) for pair in zip(told, order, strict=True)):
            yield renamed(answer, dict(zip(told, order, strict=True)))


def _may_be(told: str, asked: str, nameless: frozenset[str]) -> bool:
    """Letters of which different things are said are different; one of which nothing is said may be either."""
    kinds = {name.partition(" ")[0] for name in (told, asked) if name.startswith(_FREE)}
    names = {name.rpartition(" ")[2] for name in (told, asked)}
    return len(kinds) <= 1 and (bool(kinds) or names <= nameless) and not names & _VARIABLES - {"t"}


def nameless_letters(gold: Expression) -> frozenset[str]:
    """The letters that may have other names in an answer of this form though nothing is said of them.

    Those are the coefficients of a function, the parameters of points and lists, and constants of integration: in any
    other formula a letter is what the question calls so.
    """
    match gold:
        case Relation((head, _), ("=",)) if function_head(head) or head == Symbol("y"):
            return _COEFFICIENTS
        case Relation((_, Collection()), _) | Collection():
            return _PARAMETERS
        case Apply() if symbols(gold) & _VARIABLES:
            return _INTEGRATION
        case _:
            return frozenset()


def as_vector(expression: Expression) -> Expression:
    """`2i - 3j`, with i and j marked as directions, as (2, -3); `(1, 0) + t(1, 1)` and `3` times a matrix likewise."""
    used = symbols(expression) & set(_DIRECTIONS)
    if used and not isinstance(expression, Collection):
        names = _DIRECTIONS[: 3 if _DIRECTIONS[2] in used else 2]
        return Collection("()", tuple(_component(expression, name) for name in names))
    return _combined(expression) or expression


def _component(expression: Expression, name: str) -> Expression:
    for other in _DIRECTIONS:
        expression = replaced(expression, other, Number(Fraction(int(other == name))))
    return expression


def _combined(expression: Expression) -> Collection | None:
    """Sums and multiples of tuples and matrices, entry by entry; None for anything else."""
    match expression:
        case Collection("()" | "<>" | "matrix"):
            return expression
        case Apply("neg", (inner,)):
            return _each(_combined(inner), lambda part: Apply("neg", (part,)))
        case Apply("mul", (left, right)):
            scalar, vector = (left, _combined(right)) if _combined(left) is None else (right, _combined(left))
            return None if _combined(scalar) else _each(vector, lambda part: Apply("mul", (scalar, part)))
        case Apply("div", (top, bottom)):
            return _each(_combined(top), lambda part: Apply("div", (part, bottom)))
        case Apply("add", terms):
            parts = [_combined(term) for term in terms]
            return _added([part for part in parts if part is not None]) if None not in parts else None
        case _:
            return None


def _each(vector: Collection | None, change: Callable[[Expression], Expression]) -> Collection | None:
    if vector is None:
        return None
    items = (_each(item, change) if isinstance(item, Collection) else change(item) for item in vector.items)
    return Collection(vector.kind, tuple(item for item in items if item is not None))


def _added(vectors: list[Collection]) -> Collection | None:
    if len({len(vector.items) for vector in vectors}) != 1:
        return None
    columns = zip(*(vector.items for vector in vectors), strict=True)
    return Collection(vectors[0].kind, tuple(_sum(column) for column in columns))


def _sum(parts: tuple[Expression, ...]) -> Expression:
    rows = [part for part in parts if isinstance(part, Collection)]
    return (_added(rows) if len(rows) == len(parts) else None) or Apply("add", parts)
