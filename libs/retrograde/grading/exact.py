"""Exact rational arithmetic on expressions, each operation gated by what it would cost.

`rational(expression)` is its value as a Fraction, or None where it has none (a variable, an irrational root, sin 1).
A quantity's value is that in base units; a numeral's, that in its base.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from retrograde.grading.expression import Apply, CostError, Expression, Number, Quantity

MAX_BITS = 100_000  # of a numerator or denominator on the way
MAX_FACTORIAL = 5_000


class UndefinedError(ArithmeticError):
    """A division by zero or its like: the answer has no value."""


def rational(expression: Expression) -> Fraction | None:
    """The exact value, or None. Raises CostError where finding it would take too much, UndefinedError for 1/0."""
    if isinstance(expression, Number):
        return expression.value / 100 if expression.percent else expression.value
    if isinstance(expression, Quantity):
        value = rational(expression.value)
        return None if value is None else _checked(value * expression.unit.size)
    if not isinstance(expression, Apply) or expression.operation not in _OPERATIONS:
        return None
    values: list[Fraction] = []
    for argument in expression.arguments:
        part = rational(argument)
        if part is None:
            return None
        values.append(part)
    return _checked(_OPERATIONS[expression.operation](*values))


def _checked(value: Fraction | None) -> Fraction | None:
    if value is not None and bits(value) > MAX_BITS:
        raise CostError(f"a number of more than {MAX_BITS} bits")
    return value


def bits(value: Fraction) -> int:
    """Size of the longer of numerator and denominator."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _add(*terms: Fraction) -> Fraction:
    return sum(terms, Fraction())


def _divide(top: Fraction, bottom: Fraction) -> Fraction:
    if not bottom:
        raise UndefinedError("division by zero")
    return top / bottom


def _power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        root = _root(base, Fraction(exponent.denominator))
        return None if root is None else _power(root, Fraction(exponent.numerator))
    if not base and exponent < 0:
        raise UndefinedError("division by zero")
    if abs(exponent) * bits(base) > MAX_BITS and abs(base) not in {0, 1}:
        raise CostError(f"a power of more than {MAX_BITS} bits")
    return base ** (int(exponent) if abs(base) not in {0, 1} else int(exponent % 2 or 2) if exponent else 0)


def _root(base: Fraction, degree: Fraction) -> Fraction | None:
    """The exact root, where it is rational and real."""
    if degree.denominator != 1 or not 0 < degree <= MAX_FACTORIAL or (base < 0 and degree % 2 == 0):
        return None
    sign = -1 if base < 0 else 1
    top, bottom = (_integer_root(part, int(degree)) for part in (abs(base.numerator), base.denominator))
    return None if top is None or bottom is None else Fraction(sign * top, bottom)


def _integer_root(value: int, degree: int) -> int | None:
    """The exact integer root of value >= 0, or None, by bisection on its bits."""
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= value else (low, middle - 1)
    return low if low**degree == value else None


def _factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise CostError(f"a factorial above {MAX_FACTORIAL}!")
    return Fraction(math.factorial(int(value)))


def _double_factorial(value: Fraction) -> Fraction | None:
    if value.denominator != 1 or value < 0:
        return None
    if value > MAX_FACTORIAL:
        raise CostError(f"a double factorial above {MAX_FACTORIAL}!!")
    return Fraction(math.prod(range(int(value), 0, -2)))


def _binomial(top: Fraction, bottom: Fraction) -> Fraction | None:
    if top.denominator != 1 or bottom.denominator != 1 or min(top, bottom) < 0:
        return None
    if min(bottom, abs(top - bottom)) * bits(top) > MAX_BITS:
        raise CostError(f"a binomial of more than {MAX_BITS} bits")
    return Fraction(math.comb(int(top), int(bottom)))


def _integers(function: Callable[..., int]) -> Callable[..., Fraction | None]:
    """`function` of whole numbers; None of others."""

    def apply(*values: Fraction) -> Fraction | None:
        if any(value.denominator != 1 for value in values):
            return None
        return Fraction(function(*(int(value) for value in values)))

    return apply


def _modulo(value: Fraction, modulus: Fraction) -> Fraction:
    if not modulus:
        raise UndefinedError("a remainder by zero")
    return value % modulus


def _based(digits: Fraction, base: Fraction) -> Fraction | None:
    """The value of a numeral written in a base of 2 to 10; None where a digit is too large."""
    if digits.denominator != 1 or base.denominator != 1 or not 2 <= base <= 10 or bits(digits) > MAX_BITS // 10:  # noqa: PLR2004 - see above
        return None
    text = str(int(digits)).lstrip("-")
    if any(int(digit) >= base for digit in text):
        return None
    return Fraction(int(text, int(base)) * (-1 if digits < 0 else 1))


_OPERATIONS: dict[str, Callable[..., Fraction | None]] = {
    "add": _add,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "neg": lambda a: -a,
    "abs": abs,
    "pow": _power,
    "root": _root,
    "factorial": _factorial,
    "factorial2": _double_factorial,
    "binom": _binomial,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
    "mod": _modulo,
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "gcd": _integers(math.gcd),
    "lcm": _integers(math.lcm),
    "base": _based,
}
