"""Are two expressions equal? Asked at random points with 50 digits, for what rational arithmetic does not reach.

Two expressions that agree to 30 digits at every point where both are defined are taken as equal. The points are fixed
by a seed, so that a verdict is the same every time. Powers and factorials are gated before they are computed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import mpmath  # type: ignore[import-untyped]

from retrograde.grading.expression import Apply, CostError, Expression, Number, Symbol

NUM_POINTS = 6
MIN_POINTS = 3
MAX_EXPONENT = 100_000  # bits that a power, and the argument of exp, may reach
_DIGITS = 50
_AGREE = mpmath.mpf(10) ** -30
_SINGULAR = (ZeroDivisionError, ValueError, OverflowError, TypeError)

Point = Mapping[str, Any]


class NoValueError(ArithmeticError):
    """The expression has no number at this point."""


def same_value(left: Expression, right: Expression, variables: frozenset[str]) -> bool | None:
    """Whether both agree at random points; None where too few points have a value. Raises CostError."""
    return _all_points(variables, lambda point: close(evaluate(left, point), evaluate(right, point)))


def same_zeros(left: Expression, right: Expression, variables: frozenset[str]) -> bool | None:
    """Whether one is a constant, non-zero multiple of the other ("y = 2x" and "2y = 4x"); None as above."""
    ratios: list[Any] = []

    def ratio_is_constant(point: Point) -> bool:
        ratios.append(evaluate(left, point) / evaluate(right, point))
        return bool(ratios[0] != 0) and close(ratios[0], ratios[-1])

    return _all_points(variables, ratio_is_constant)


def _all_points(variables: frozenset[str], holds: Callable[[Point], bool]) -> bool | None:
    source = random.Random(17)
    num_held = 0
    with mpmath.workdps(_DIGITS):
        for _ in range(NUM_POINTS if variables else 1):
            point = {name: _draw(source) for name in sorted(variables)}
            try:
                if not holds(point):
                    return False
                num_held += 1
            except CostError:
                raise
            except (NoValueError, *_SINGULAR):
                continue
    return True if num_held >= (MIN_POINTS if variables else 1) else None


def _draw(source: random.Random) -> Any:
    """A rational in (-3, 3) away from 0, so that odd and even functions are told apart."""
    return mpmath.mpf(source.randint(200, 2999) * source.choice((1, 1, -1))) / 997


def close(left: Any, right: Any) -> bool:
    """Agreement to 30 digits, relative where they are large; infinities only with themselves."""
    if mpmath.isinf(left) or mpmath.isinf(right):
        return bool(left == right)
    return bool(abs(left - right) <= _AGREE * max(1, abs(left), abs(right)))


def evaluate(expression: Expression, point: Point) -> Any:
    """The value (mpf or mpc) at `point`. Raises NoValueError or CostError."""
    match expression:
        case Number(value, _, percent):
            return mpmath.mpf(value.numerator) / value.denominator / (100 if percent else 1)
        case Symbol(name):
            if name not in point and name not in _CONSTANTS:
                raise NoValueError(name)
            return point[name] if name in point else _CONSTANTS[name]()
        case Apply(operation, arguments) if operation in _OPERATIONS:
            value = _OPERATIONS[operation](*(evaluate(argument, point) for argument in arguments))
            if mpmath.isnan(value):
                raise NoValueError(operation)
            return value
        case _:
            raise NoValueError(type(expression).__name__)


def _power(base: Any, exponent: Any) -> Any:
    size = abs(mpmath.log(abs(base), 2)) if base else 0
    if abs(exponent) * size > MAX_EXPONENT:
        raise CostError(f"a power of more than {MAX_EXPONENT} bits")
    return mpmath.power(base, exponent)


def _gated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An exponential function, refused where its result would be too long."""

    def apply(value: Any) -> Any:
        if abs(value) > MAX_EXPONENT:
            raise CostError(f"an exponential above e^{MAX_EXPONENT}")
        return function(value)

    return apply


def _root(base: Any, degree: Any) -> Any:
    """The real root where there is one: the cube root of -8 is -2."""
    if mpmath.im(base) == 0 and base < 0 and degree == int(mpmath.re(degree)) and int(mpmath.re(degree)) % 2:
        return -mpmath.power(-base, 1 / degree)
    return _power(base, 1 / degree)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, refused above 10^30, where its argument would have to be reduced with ever more digits."""

    def apply(*values: Any) -> Any:
        if any(abs(value) > mpmath.mpf(10) ** 30 for value in values):
            raise CostError("a function of a number above 10^30")
        return function(*values)

    return apply


def _factorial(value: Any) -> Any:
    if abs(value) > MAX_EXPONENT:
        raise CostError(f"a factorial above {MAX_EXPONENT}!")
    return mpmath.factorial(value)


def _log(value: Any, base: Any = None) -> Any:
    return mpmath.log(value) if base is None else mpmath.log(value) / mpmath.log(base)


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "pi": lambda: +mpmath.pi,
    "e": lambda: +mpmath.e,
    "i": lambda: mpmath.mpc(0, 1),
    "oo": lambda: mpmath.inf,
}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda *terms: mpmath.fsum(terms),
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "abs": abs,
    "pow": _power,
    "root": _root,
    "factorial": _factorial,
    "log": _log,
    "ln": _log,
    "lg": lambda value: mpmath.log(value, 10),
    "binom": _bounded(mpmath.binomial),
    **{name: _bounded(getattr(mpmath, name)) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ("sin", "cos", "tan")},
    **{name: _gated(getattr(mpmath, name)) for name in ("exp", "sinh", "cosh", "tanh")},
}
