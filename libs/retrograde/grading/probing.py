"""Are two expressions equal? Asked at random points with 50 digits, for what rational arithmetic does not reach.

Two expressions that agree to 30 digits at every point where both are defined are taken as equal; a disagreement is
asked again with three times the digits, so that cancellation alone never rejects. The points are fixed by a seed: a
verdict is the same every time. Where real points give no value (factorials of them, sums up to them), or where only
letters stand that stand for integers ("n"), whole numbers are tried. All work is counted and refused above a limit.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import mpmath  # type: ignore[import-untyped]

from retrograde.grading.expression import (
    Apply,
    Collection,
    CostError,
    Expression,
    Number,
    Quantity,
    Relation,
    Symbol,
    walk,
)
from retrograde.grading.functions import CONSTANTS, OPERATIONS, NoValueError, whole

NUM_POINTS = 10
MIN_POINTS = 3
MAX_STEPS = 20_000  # operations in one comparison
MAX_TERMS = 2_000  # of a sum or product
_SERIES_STEPS = 50  # that a term of an infinite sum counts for: extrapolation costs more than the term
_DIGITS = 50
_MORE_DIGITS = 150
_AGREE = mpmath.mpf(10) ** -30
_SINGULAR = (ZeroDivisionError, ValueError, OverflowError, TypeError)
_INTEGER_LETTERS = frozenset("nmkNMK")
_DETERMINANT_SIZE = 6
_JUMPING = frozenset({"cases", "floor", "ceil", "sgn"})

ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip

Point = Mapping[str, Any]
Holds = Callable[["Evaluator"], bool]


class Evaluator:
    """Values at one point; `steps` are counted over all points of a comparison."""

    def __init__(self, point: Point, steps: list[int]) -> None:
        self._point = dict(point)
        self._steps = steps

    def value(self, expression: Expression) -> Any:
        """The value (mpf or mpc). Raises NoValueError or CostError."""
        self._steps[0] += 1
        if self._steps[0] > MAX_STEPS:
            raise CostError(f"a value that takes more than {MAX_STEPS} operations")
        match expression:
            case Number(value, _, percent):
                return mpmath.mpf(value.numerator) / value.denominator / (100 if percent else 1)
            case Symbol(name):
                return self._named(name)
            case Quantity(value, unit):
                return self.value(value) * unit.size.numerator / unit.size.denominator
            case Apply("sum" | "prod" | "int", _):
                return self._big(expression)
            case Apply("cases", cells):
                return self._case(cells)
            case Apply("det", (Collection("matrix", rows),)):
                return self._determinant(rows)
            case Apply(operation, arguments) if operation in OPERATIONS:
                return _number(OPERATIONS[operation](*(self.value(argument) for argument in arguments)))
            case _:
                raise NoValueError(type(expression).__name__)

    def _case(self, cells: tuple[Expression, ...]) -> Any:
        """The value of the first row whose condition holds."""
        for value, condition in zip(cells[::2], cells[1::2], strict=True):
            if self._holds(condition):
                return self.value(value)
        raise NoValueError("no case")

    def _holds(self, condition: Expression) -> bool:
        if condition == Symbol("\\else"):
            return True
        match condition:
            case Relation((value, residue, modulus), ("==", "mod")):
                return not mpmath.fmod(self.value(value) - self.value(residue), self.value(modulus))
            case Relation((value, Collection(kind, (low, high))), ("in",)) if kind[0] in "([" and kind[-1] in ")]":
                signs = ("<=" if kind[0] == "[" else "<", "<=" if kind[-1] == "]" else "<")
                return self._holds(Relation((low, value, high), signs))
            case _:
                pass
        if not isinstance(condition, Relation) or not set(condition.signs) <= ORDERS.keys():
            raise NoValueError("condition")
        values = [mpmath.re(self.value(side)) for side in condition.sides]
        return all(ORDERS[sign](*pair) for sign, pair in zip(condition.signs, pairwise(values), strict=True))

    def _named(self, name: str) -> Any:
        if name in self._point:
            return self._point[name]
        if name not in CONSTANTS:
            raise NoValueError(name)
        return CONSTANTS[name]()

    def _big(self, expression: Apply) -> Any:
        index, lower, upper, body = expression.arguments
        if not isinstance(index, Symbol):
            raise NoValueError(expression.operation)
        if expression.operation == "int":
            return self._integral(index.name, (self.value(lower), self.value(upper)), body)
        first = whole(self.value(lower))
        last = self.value(upper)
        if mpmath.isinf(last):
            return self._series(expression.operation, index.name, first, body)
        terms = self._terms(index.name, range(first, whole(last) + 1), body)
        return mpmath.fsum(terms) if expression.operation == "sum" else mpmath.fprod(terms)

    def _at(self, name: str, value: Any, body: Expression) -> Any:
        return Evaluator(self._point | {name: value}, self._steps).value(body)

    def _terms(self, name: str, indices: range, body: Expression) -> list[Any]:
        if len(indices) > MAX_TERMS:
            raise CostError(f"a sum of {len(indices)} terms; at most {MAX_TERMS} are added")
        return [self._at(name, mpmath.mpf(index), body) for index in indices]

    def _series(self, operation: str, name: str, first: int, body: Expression) -> Any:
        """An infinite sum, extrapolated."""
        if operation != "sum":
            raise NoValueError("an infinite product")

        def term(index: Any) -> Any:
            self._steps[0] += _SERIES_STEPS
            return self._at(name, index, body)

        return mpmath.nsum(term, [first, mpmath.inf], maxterms=MAX_TERMS)

    def _integral(self, name: str, limits: tuple[Any, Any], body: Expression) -> Any:
        with mpmath.workdps(_DIGITS):
            return mpmath.quad(lambda value: self._at(name, value, body), limits, maxdegree=7)

    def _determinant(self, rows: tuple[Expression, ...]) -> Any:
        cells = [list(row.items) for row in rows if isinstance(row, Collection)]
        if len(cells) > _DETERMINANT_SIZE or any(len(row) != len(cells) for row in cells):
            raise NoValueError("no square matrix")
        return mpmath.det(mpmath.matrix([[self.value(cell) for cell in row] for row in cells]))


def _number(value: Any) -> Any:
    if mpmath.isnan(value):
        raise NoValueError("nan")
    return value


def same_value(left: Expression, right: Expression, variables: frozenset[str]) -> bool | None:
    """Whether both agree at random points; None where too few points have a value. Raises CostError."""
    is_real = Symbol("i") not in (*walk(left), *walk(right))

    def agree(at: Evaluator) -> bool:
        values = at.value(left), at.value(right)
        if is_real and variables and any(mpmath.im(value) for value in values):
            raise NoValueError("not real: a logarithm or root outside its domain")
        return close(*values)

    same = all_points(variables, agree)
    if same and any(isinstance(part, Apply) and part.operation in _JUMPING for part in (*walk(left), *walk(right))):
        return _all_of(_small_points(variables), agree, 1)
    return same


def same_zeros(left: Expression, right: Expression, variables: frozenset[str]) -> bool | None:
    """Whether one is a constant, non-zero multiple of the other ("y = 2x" and "2y = 4x"); None as above."""
    ratios: dict[int, Any] = {}

    def ratio_is_constant(at: Evaluator) -> bool:
        ratio = at.value(left) / at.value(right)
        first = ratios.setdefault(mpmath.mp.dps, ratio)
        return bool(first != 0) and close(first, ratio)

    return all_points(variables, ratio_is_constant)


def same_but_for_constant(left: Expression, right: Expression, variables: frozenset[str]) -> bool | None:
    """Whether both differ by a constant; None as above."""
    first: dict[int, Any] = {}

    def differs_by_constant(at: Evaluator) -> bool:
        difference = at.value(left) - at.value(right)
        return close(first.setdefault(mpmath.mp.dps, difference), difference)

    return all_points(variables, differs_by_constant)


def all_points(variables: frozenset[str], holds: Holds) -> bool | None:
    """Whether `holds` at the points tried; None where too few have a value."""
    held = _all_of(_real_points(variables), holds, MIN_POINTS if variables else 1)
    if held is True or not variables:
        return held
    if held is None or variables <= _INTEGER_LETTERS:
        return _all_of(_whole_points(variables), holds, MIN_POINTS) or held
    return held


def _all_of(points: Iterator[Point], holds: Holds, enough: int) -> bool | None:
    num_held, steps = 0, [0]
    with mpmath.workdps(_DIGITS):
        for point in points:
            try:
                if not (holds(Evaluator(point, steps)) or _holds_exactly(point, holds, steps)):
                    return False
                num_held += 1
            except CostError:
                raise
            except (NoValueError, mpmath.libmp.NoConvergence, *_SINGULAR):
                continue
    return True if num_held >= enough else None


def _holds_exactly(point: Point, holds: Holds, steps: list[int]) -> bool:
    with mpmath.workdps(_MORE_DIGITS):
        return holds(Evaluator(point, steps))


def _real_points(variables: frozenset[str]) -> Iterator[Point]:
    """Rationals in (-3, 3) away from 0, two thirds of them positive: odd and even functions are told apart."""
    source = random.Random(17)
    for _ in range(NUM_POINTS if variables else 1):
        yield {
            name: mpmath.mpf(source.randint(200, 2999) * source.choice((1, 1, -1))) / 997 for name in sorted(variables)
        }


def _whole_points(variables: frozenset[str]) -> Iterator[Point]:
    """Whole numbers from 2 on, odd and even, the larger for the letters that are first in the alphabet."""
    for shift in (5, 8, 3, 6, 9, 4, 7):
        yield {name: mpmath.mpf(shift - index) for index, name in enumerate(sorted(variables))}


def _small_points(variables: frozenset[str]) -> Iterator[Point]:
    """Small whole numbers and halves, where pieces meet."""
    step = 1 if variables <= _INTEGER_LETTERS else mpmath.mpf(1) / 2
    for count in range(-10, 11):
        yield dict.fromkeys(variables, count * step)


def close(left: Any, right: Any) -> bool:
    """Agreement to 30 digits, relative where they are large; infinities only with themselves."""
    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    return bool(abs(left - right) <= _AGREE * max(1, abs(left), abs(right)))
