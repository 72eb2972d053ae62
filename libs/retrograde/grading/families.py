r"""Families of values: "x = \pi/6 + 2k\pi, k an integer", "(t^2, t)", "n \equiv 1 (mod 4)".

Each side's first members must be among the many members of the other: so neither the name nor the start of the
parameter matters, and "2k + 1" is "2k - 1".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mpmath  # type: ignore[import-untyped]

from retrograde.grading.expression import Collection, CostError, Expression, Family, Relation, renamed, symbols
from retrograde.grading.functions import NoValueError
from retrograde.grading.probing import MAX_STEPS, Evaluator
from retrograde.grading.records import records
from retrograde.grading.relations import function_head

_FEW, _MANY = 4, 48  # parameters run from -few to few on one side, from -many to many on the other
_MANY_PAIRS = 10  # where there are two parameters
_MAX_PARAMETERS = 2
_DIGITS = 18
_SINGULAR = (ZeroDivisionError, ValueError, OverflowError, TypeError)

Member = tuple[str, ...]


def same_family(answer: Expression, gold: Expression) -> bool | None:
    """Whether both run through the same values; None where they cannot be computed. Raises CostError."""
    left, right = _family(answer, gold), _family(gold, answer)
    free = sorted((symbols(left) - left.parameters) | (symbols(right) - right.parameters) | {"x"})
    if max(len(left.parameters), len(right.parameters)) > _MAX_PARAMETERS:
        return None
    point = {name: mpmath.mpf(1000 + 37 * index) / 811 for index, name in enumerate(free)}
    try:
        return _covers(left, right, point) and _covers(right, left, point)
    except (NoValueError, *_SINGULAR):
        return None


def _family(expression: Expression, other: Expression) -> Family:
    """`expression` as a family; where it declares nothing, the letters that the other side does not have run."""
    if isinstance(expression, Family):
        return expression
    shared = symbols(other) - (other.parameters if isinstance(other, Family) else frozenset())
    letters = frozenset(name for name in symbols(expression) - shared if " " not in name)
    return Family(expression, letters, is_declared=False)


def _covers(large: Family, small: Family, point: dict[str, Any]) -> bool:
    many = _MANY if len(large.parameters) <= 1 else _MANY_PAIRS
    members = set(_members(large, many, point))
    few = list(_members(small, _FEW, point))
    if not small.is_declared and large.first is not None:
        few = [member for member in _members(small, _MANY // 3, point) if _size(member) >= min(map(_size, members))]
    return bool(few) and all(member in members for member in few)


def _size(member: Member) -> int:
    return int(member[0].partition(",")[0])


def _members(family: Family, reach: int, point: dict[str, Any]) -> Iterator[Member]:
    """The values of all bodies, each with its parameters over the range."""
    names = sorted(family.parameters)
    start = -reach if family.first is None else family.first
    steps = [0]
    with mpmath.workdps(40):
        for values in itertools.product(range(start, start + 2 * reach + 1), repeat=len(names)):
            at = Evaluator(point | dict(zip(names, map(mpmath.mpf, values), strict=True)), steps)
            for body in _bodies(family.body):
                yield tuple(_spelled(at.value(part)) for part in _parts(body))
            if steps[0] > MAX_STEPS:
                raise CostError("a family of too many members")


def _bodies(body: Expression) -> tuple[Expression, ...]:
    """What is listed: each runs through its values."""
    rows = records(body)
    if rows is not None:
        return tuple(Collection("()", tuple(row[name] for name in sorted(row))) for row in rows)
    if isinstance(body, Collection) and body.kind in {",", "or", "{}", "cup"}:
        return tuple(part for item in body.items for part in _bodies(item))
    if isinstance(body, Relation) and set(body.signs) <= {"=", "in", "=="}:
        head = function_head(body.sides[0])
        return _bodies(renamed(body.sides[-1], {head[1]: "x"}) if head else body.sides[-1])
    return (body,)


def _parts(body: Expression) -> tuple[Expression, ...]:
    return body.items if isinstance(body, Collection) else (body,)


def _spelled(value: Any) -> str:
    """The value to 18 digits, the same for all that are equal."""
    rounded = mpmath.mpc(*(mpmath.nint(part * 10**_DIGITS) for part in (mpmath.re(value), mpmath.im(value))))
    return f"{int(rounded.real)},{int(rounded.imag)}"
