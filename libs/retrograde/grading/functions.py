"""What each operation computes at a point (mpmath, 50 digits), each gated by what it would cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mpmath  # type: ignore[import-untyped]

from retrograde.grading.expression import CostError

MAX_EXPONENT = 100_000  # bits that a power, and the argument of exp, may reach
_LARGEST_ARGUMENT = 10**30
_INTEGER_SLACK = 10**-20


class NoValueError(ArithmeticError):
    """The expression has no number at this point."""


def power(base: Any, exponent: Any) -> Any:
    """`base` to the `exponent`. Raises CostError."""
    size = abs(mpmath.log(abs(base), 2)) if base else 0
    if abs(exponent) * size > MAX_EXPONENT:
        raise CostError(f"a power of more than {MAX_EXPONENT} bits")
    return mpmath.power(base, exponent)


def whole(value: Any) -> int:
    """The integer that `value` is. Raises NoValueError."""
    nearest = int(mpmath.nint(mpmath.re(value)))
    if abs(value - nearest) > _INTEGER_SLACK:
        raise NoValueError("not a whole number")
    return nearest


def real(value: Any) -> Any:
    """The real number that `value` is. Raises NoValueError."""
    if abs(mpmath.im(value)) > _INTEGER_SLACK:
        raise NoValueError("not a real number")
    return mpmath.re(value)


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
    return power(base, 1 / degree)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, refused above 10^30, where its argument would have to be reduced with ever more digits."""

    def apply(*values: Any) -> Any:
        if any(abs(value) > _LARGEST_ARGUMENT for value in values):
            raise CostError("a function of a number above 10^30")
        return function(*values)

    return apply


def _factorial(value: Any) -> Any:
    if abs(value) > MAX_EXPONENT:
        raise CostError(f"a factorial above {MAX_EXPONENT}!")
    return mpmath.factorial(value)


def _log(value: Any, base: Any = None) -> Any:
    return mpmath.log(value) if base is None else mpmath.log(value) / mpmath.log(base)


def _over_reals(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: function(*(real(value) for value in values))


def _over_integers(function: Callable[..., int]) -> Callable[..., Any]:
    return lambda *values: mpmath.mpf(function(*(whole(value) for value in values)))


def _divide(first: Any, *others: Any) -> Any:
    for other in others:
        first = first / other
    return first


CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "pi": lambda: +mpmath.pi,
    "e": lambda: +mpmath.e,
    "i": lambda: mpmath.mpc(0, 1),
    "oo": lambda: mpmath.inf,
}
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda *terms: mpmath.fsum(terms),
    "mul": lambda a, b: a * b,
    "div": _divide,
    "neg": lambda a: -a,
    "abs": abs,
    "pow": power,
    "root": _root,
    "factorial": _factorial,
    "factorial2": lambda value: _factorial(value) and mpmath.fac2(value),
    "log": _log,
    "ln": _log,
    "lg": lambda value: mpmath.log(value, 10),
    "degree": lambda value: value * mpmath.pi / 180,
    "cis": _bounded(lambda value: mpmath.expj(value)),  # noqa: PLW0108 - takes one argument only
    "binom": _bounded(mpmath.binomial),
    "floor": _over_reals(mpmath.floor),
    "ceil": _over_reals(mpmath.ceil),
    "sgn": _over_reals(mpmath.sign),
    "mod": _bounded(_over_reals(lambda a, b: a - b * mpmath.floor(a / b))),
    "max": _over_reals(lambda *values: max(values)),
    "min": _over_reals(lambda *values: min(values)),
    "gcd": _bounded(_over_integers(math.gcd)),
    "lcm": _bounded(_over_integers(math.lcm)),
    "Re": mpmath.re,
    "Im": mpmath.im,
    **{name: _bounded(getattr(mpmath, name)) for name in ("sin", "cos", "tan", "cot", "sec", "csc")},
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ("sin", "cos", "tan", "cot")},
    **{name: _gated(getattr(mpmath, name)) for name in ("exp", "sinh", "cosh", "tanh", "coth")},
}
