r"""Sets of real numbers, however they are told: intervals, unions, inequalities, "x \ne 2", R without a point.

Two sets are compared at points: at each end that either names, close to it on both sides, and between the ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath  # type: ignore[import-untyped]

from retrograde.grading.expression import Apply, Collection, CostError, Expression, Number, Relation, Symbol, symbols
from retrograde.grading.functions import NoValueError
from retrograde.grading.probing import Evaluator, close

INTERVALS = frozenset({"()", "[]", "(]", "[)"})
_SETS = frozenset({"cup", "cap", "setminus"})
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_ORDERS = frozenset({"<", ">", "<=", ">=", "!="})
_NEAR = mpmath.mpf(10) ** -9
_SPREAD = tuple(mpmath.mpf(tenths) / 7 for tenths in range(-99, 100, 6))
_SINGULAR = (ZeroDivisionError, ValueError, OverflowError, TypeError)

Contains = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Region:
    """A set of reals: what it contains, and the finite points where that changes."""

    contains: Contains
    ends: tuple[Any, ...]
    is_plain: bool = True  # the ends are known


def is_region(expression: Expression) -> bool:
    """Whether it can only be read as a set of reals (a pair in brackets may be a tuple)."""
    match expression:
        case Relation(_, signs):
            return set(signs) <= _ORDERS and len(symbols(expression)) == 1
        case Collection(kind, items) if kind in {",", "or"}:
            return any(map(is_region, items)) and all(isinstance(item, Relation) for item in items)
        case Collection(kind, _):
            return kind in _SETS or kind in {"(]", "[)"}
        case Symbol(name):
            return name == "\\R"
        case _:
            return False


def as_interval(expression: Expression) -> Expression:
    """`x < a` as the interval from minus infinity to a, whatever a is; anything else as it is."""
    match expression:
        case Relation((Symbol() as name, bound), (sign,)) if sign in _ORDERS and name.name not in symbols(bound):
            pass
        case Relation((bound, Symbol() as name), (sign,)) if sign in _MIRROR and name.name not in symbols(bound):
            sign = _MIRROR[sign]
        case Relation((low, Symbol(), high), (("<" | "<=") as left, ("<" | "<=") as right)):
            return Collection(("[" if "=" in left else "(") + ("]" if "=" in right else ")"), (low, high))
        case _:
            return expression
    infinity = Symbol("oo")
    if sign in {"<", "<="}:
        return Collection("(]" if "=" in sign else "()", (Apply("neg", (infinity,)), bound))
    if sign in {">", ">="}:
        return Collection("[)" if "=" in sign else "()", (bound, infinity))
    return expression


def same_region(answer: Expression, gold: Expression) -> bool | None:
    """Whether both are the same set of reals; None where one cannot be read as one, or names no end."""
    with mpmath.workdps(30):
        left, right = region(answer), region(gold)
        if left is None or right is None or not (left.is_plain or right.is_plain):
            return None
        try:
            return all(left.contains(point) == right.contains(point) for point in _points(left.ends + right.ends))
        except (NoValueError, *_SINGULAR):
            return None


def same_names(answer: Expression, gold: Expression) -> bool:
    """Whether both speak of the same letter, where both name one."""
    told, asked = symbols(answer) - {"?"}, symbols(gold) - {"?"}
    return not told or not asked or told == asked


def _points(ends: tuple[Any, ...]) -> list[Any]:
    ordered = sorted(ends)
    between = [(low + high) / 2 for low, high in itertools.pairwise(ordered)]
    near = [end + step for end in ordered for step in (-_NEAR, 0, _NEAR, -1000, 1000)]
    return [*near, *between, *_SPREAD]


def region(expression: Expression) -> Region | None:
    """The set an expression tells, or None."""
    match expression:
        case Symbol("\\R"):
            return Region(lambda _: True, ())
        case Relation((Symbol(), value), ("=",)):
            return _points_only((value,))
        case Relation(_, signs) if set(signs) <= _ORDERS:
            return _inequality(expression)
        case Collection(kind, (low, high)) if kind in INTERVALS:
            return _interval(kind, low, high)
        case Collection(kind, parts):
            return _of_parts(kind, parts)
        case Number() | Apply():
            return _points_only((expression,))
        case _:
            return None


def _of_parts(kind: str, parts: tuple[Expression, ...]) -> Region | None:
    match kind:
        case "{}":
            return _points_only(parts)
        case "setminus":
            return _combined(parts, lambda inside: inside[0] and not inside[1])
        case "cap":
            return _combined(parts, all)
        case "cup" | "or":
            return _combined(parts, any)
        case ",":
            return _listed(parts)
        case _:
            return None


def _listed(parts: tuple[Expression, ...]) -> Region | None:
    """Inequalities in a row: what all of them allow, or where nothing is left, what any of them allows."""
    both, either = _combined(parts, all), _combined(parts, any)
    if both is None or either is None:
        return None
    return both if any(both.contains(point) for point in _points(both.ends)) else either


def _combined(parts: tuple[Expression, ...], decide: Callable[[list[bool]], bool]) -> Region | None:
    regions = [region(part) for part in parts]
    known = [part for part in regions if part is not None]
    if len(known) < len(regions):
        return None
    ends = tuple(end for part in known for end in part.ends)
    is_plain = all(part.is_plain for part in known)
    return Region(lambda point: decide([part.contains(point) for part in known]), ends, is_plain)


def _interval(kind: str, low: Expression, high: Expression) -> Region | None:
    start, stop = _end(low), _end(high)
    if start is None or stop is None:
        return None

    def contains(point: Any) -> bool:
        if _same(point, start) or _same(point, stop):
            return (kind[0] == "[" and _same(point, start)) or (kind[1] == "]" and _same(point, stop))
        return bool(start < point < stop)

    return Region(contains, _finite(start, stop))


def _points_only(items: tuple[Expression, ...]) -> Region | None:
    values = [_end(item) for item in items]
    if any(value is None for value in values):
        return None
    return Region(lambda point: any(_same(point, value) for value in values), _finite(*values))


def _inequality(relation: Relation) -> Region | None:
    variables = symbols(relation)
    if len(variables) != 1:
        return None
    (variable,) = variables
    ends = [_end(side) for side in relation.sides if not symbols(side)]
    known = _finite(*(end for end in ends if end is not None))
    is_plain = all(isinstance(side, Symbol) or not symbols(side) for side in relation.sides)

    def contains(point: Any) -> bool:
        at = Evaluator({variable: point}, [0])
        values = [mpmath.re(at.value(side)) for side in relation.sides]
        return all(_holds(sign, *pair) for sign, pair in zip(relation.signs, itertools.pairwise(values), strict=True))

    return Region(contains, known if is_plain else (), is_plain)


def _holds(sign: str, left: Any, right: Any) -> bool:
    if _same(left, right):
        return sign in {"<=", ">="}
    is_less = bool(left < right)
    return sign == "!=" or is_less == sign.startswith("<")


def _same(left: Any, right: Any) -> bool:
    return bool(close(left, right) or abs(left - right) < _NEAR / 1000)


def _finite(*ends: Any) -> tuple[Any, ...]:
    return tuple(end for end in ends if not mpmath.isinf(end))


def _end(expression: Expression) -> Any:
    """The value of an end without variables, or None."""
    if symbols(expression):
        return None
    try:
        value = Evaluator({}, [0]).value(expression)
    except (NoValueError, CostError, *_SINGULAR):
        return None
    return mpmath.re(value) if mpmath.im(value) == 0 else None
