"""One value against another: numbers, expressions, quantities, percentages, decimals.

exact      by rational arithmetic, else at points (probing.py)
rounded    a gold written with decimals is met by every value that rounds to it at its last place
percent    "50%" is met by 50 and by 0.5
units      converted where both sides have one; ignored where one has none
+ C        two antiderivatives may differ by a constant where both carry one
letters    a letter that stands for any number, or counts through the integers, may have another name
"""

from __future__ import annotations

from fractions import Fraction

from retrograde.grading.exact import rational
from retrograde.grading.expression import (
    Apply,
    Collection,
    Expression,
    Number,
    Quantity,
    Relation,
    Symbol,
    difference,
    rebuilt,
    replaced,
    symbols,
)
from retrograde.grading.probing import same_but_for_constant, same_value
from retrograde.grading.units import Unit

MIN_ROUNDED_DIGITS = 6  # a decimal answer meets an irrational gold with this many significant digits or more
# A decimal of one place and few digits ("0.3", "1.5") is taken as exact: half places and sizes of those that are not.
_ROUNDED_PLACES, _ROUNDED_SIZE = Fraction(1, 200), 200
_ZERO = Number(Fraction(0))


def same_scalar(answer: Expression, gold: Expression) -> bool | None:
    """Whether `answer` is the value `gold` says. Raises CostError, and UndefinedError for a value like 1/0."""
    answer, gold = _measured(_counted(answer)), _measured(_counted(gold))
    if _mixes_units(answer) or _mixes_units(gold):
        return None
    if isinstance(answer, Quantity) and isinstance(gold, Quantity):
        return _same_quantity(answer, gold)
    if isinstance(answer, Quantity) or isinstance(gold, Quantity):
        if _is_pure(answer) or _is_pure(gold):
            return _same_value(answer, gold) or (
                not _is_angle(answer) and not _is_angle(gold) and same_scalar(_bare(answer), _bare(gold))
            )
        return same_scalar(_bare(answer), _bare(gold))
    if _is_based(answer) or _is_based(gold):
        return _same_numeral(answer, gold)
    same = _same_value(answer, gold)
    if same or _is_angle(answer) == _is_angle(gold):
        return same
    return _same_value(_bare(answer), _bare(gold))


def _same_value(answer: Expression, gold: Expression) -> bool | None:
    left, right = rational(answer), rational(gold)
    if left is not None and right is not None:
        return _same_rational(left, right, answer, gold)
    variables = symbols(answer) | symbols(gold)
    same = same_value(answer, gold, variables)
    if same or ((left is None) != (right is None) and variables):
        return same
    if not variables:
        return _rounds_to(answer, gold)
    return _same_antiderivative(answer, gold, variables) or same


def _same_rational(left: Fraction, right: Fraction, answer: Expression, gold: Expression) -> bool:
    if left == right:
        return True
    if _is_percent(answer) != _is_percent(gold):
        factors = [Fraction(100), Fraction(1, 100)] if _is_percent(gold) else [Fraction(100)]
        return any(left * factor == right or _within(left * factor, right, gold) for factor in factors)
    return _within(left, right, gold)


def _within(left: Fraction, right: Fraction, gold: Expression) -> bool:
    """Whether `left` rounds to the decimals of `gold`, halves away from zero."""
    half = half_place(gold)
    if half is None or not (half <= _ROUNDED_PLACES or abs(right) >= _ROUNDED_SIZE * half):
        return False
    return abs(left - right) <= half and abs(left) - abs(right) < half


def half_place(expression: Expression) -> Fraction | None:
    r"""Half a unit of the last place of a decimal, of "1.5 \cdot 10^6" too; None for what is no decimal."""
    match expression:
        case Number(_, places, percent) if places is not None:
            return Fraction(1, 2 * 10**places) / (100 if percent else 1)
        case Apply("neg", (inner,)):
            return half_place(inner)
        case Apply("mul", (Number() as mantissa, Apply("pow", (Number(Fraction(numerator=10, denominator=1)), power)))):
            half, size = half_place(mantissa), rational(Apply("pow", (Number(Fraction(10)), power)))
            return None if half is None or size is None else half * size
        case _:
            return None


def _rounds_to(answer: Expression, gold: Expression) -> bool | None:
    """Whether one is a decimal of enough digits and the other lies within half of its last place."""
    compared = False
    for decimal, value in ((gold, answer), (answer, gold)):
        half = half_place(decimal)
        if half is None or (decimal is answer and _num_digits(decimal) < MIN_ROUNDED_DIGITS):
            continue
        compared = True
        if _lies_within(value, decimal, Number(half)):
            return True
    return False if compared else same_value(answer, gold, frozenset())


def rounds_to(value: Expression, decimal: Expression) -> bool:
    """Whether `value`, a constant, is `decimal` at its last place."""
    half = half_place(decimal)
    is_constant = not isinstance(value, Collection | Relation) and not symbols(value)
    return half is not None and is_constant and _lies_within(_bare(value), decimal, Number(half)) is True


def _num_digits(decimal: Expression) -> int:
    value, half = rational(decimal), half_place(decimal)
    return 0 if value is None or half is None else len(str(abs(value / half / 2).__floor__()))


def _lies_within(value: Expression, decimal: Expression, half: Number) -> bool | None:
    """|value - decimal| <= half, asked as |difference| + | half - |difference| | = half."""
    distance = Apply("abs", (difference(value, decimal),))
    rest = Apply("abs", (difference(half, distance),))
    return same_value(Apply("add", (distance, rest)), half, frozenset())


def _is_percent(expression: Expression) -> bool:
    match expression:
        case Number(_, _, percent):
            return percent
        case Apply("neg", (inner,)):
            return _is_percent(inner)
        case _:
            return False


def _is_pure(expression: Expression) -> bool:
    """Whether it is a quantity without dimension: radians, dozens."""
    return isinstance(expression, Quantity) and not expression.unit.dimensions


def is_measure(expression: Expression) -> bool:
    """Whether it is a quantity of a unit that cannot be a letter or a dozen."""
    return isinstance(expression, Quantity) and bool(expression.unit.dimensions) and expression.unit.is_sure


def _is_angle(expression: Expression) -> bool:
    return isinstance(expression, Apply) and expression.operation == "degree"


def _bare(expression: Expression) -> Expression:
    """Without its unit."""
    match expression:
        case Quantity(value, _):
            return value
        case Apply("degree", (value,)):
            return value
        case _:
            return expression


def _counted(expression: Expression) -> Expression:
    """`C(6, 2)` and `P(6, 2)` as numbers of choices."""
    match expression:
        case Apply("mul", (Symbol("C" | "P" as name), Collection("()", (top, bottom)))):
            chosen = Apply("binom", (top, bottom))
            return chosen if name == "C" else Apply("mul", (chosen, Apply("factorial", (bottom,))))
        case Collection():
            return expression
        case _:
            return rebuilt(expression, _counted)


def _measured(expression: Expression) -> Expression:
    """A sum, a negative or a fraction of quantities as one quantity."""
    match expression:
        case Apply("neg", (Quantity(value, unit),)):
            return Quantity(Apply("neg", (value,)), unit)
        case Apply("add", terms):
            found = [_measured(term) for term in terms]
            units = [term.unit for term in found if isinstance(term, Quantity)]
            if len(units) == len(found) and len({unit.dimensions for unit in units}) == 1:
                sizes = tuple(
                    Apply("mul", (term.value, Number(term.unit.size))) for term in found if isinstance(term, Quantity)
                )
                return Quantity(Apply("add", sizes), Unit(Fraction(1), units[0].dimensions))
        case Apply("mul", (Quantity(value, unit), other)) if not isinstance(other, Quantity):
            return Quantity(Apply("mul", (value, other)), unit)
        case _:
            pass
    return expression


def _mixes_units(expression: Expression) -> bool:
    """Whether quantities of different dimensions are added."""
    match expression:
        case Apply("add", terms):
            return len({term.unit.dimensions for term in terms if isinstance(term, Quantity)}) > 1
        case _:
            return False


def _same_quantity(answer: Quantity, gold: Quantity) -> bool | None:
    if answer.unit.dimensions != gold.unit.dimensions:
        return False
    if answer.unit.size == gold.unit.size:
        return same_scalar(answer.value, gold.value)
    factor = Number(answer.unit.size / gold.unit.size)
    return same_scalar(Apply("mul", (answer.value, factor)), gold.value)


def _is_based(expression: Expression) -> bool:
    return isinstance(expression, Apply) and expression.operation == "base"


def _same_numeral(answer: Expression, gold: Expression) -> bool | None:
    """The same digits, and the same base where both name one: the gold asks for the base it is written in."""
    match answer, gold:
        case Apply("base", (told, left)), Apply("base", (asked, right)):
            return told == asked and left == right
        case Apply("base", (told, _)), _:
            return told == gold or rational(answer) == rational(gold)
        case _, Apply("base", (asked, _)):
            return asked == answer
        case _:
            return None


def _same_antiderivative(answer: Expression, gold: Expression, variables: frozenset[str]) -> bool:
    told, asked = _constant(answer), _constant(gold)
    if told is None or asked is None:
        return False
    left, right = replaced(answer, told, _ZERO), replaced(gold, asked, _ZERO)
    return same_but_for_constant(left, right, variables - {told, asked}) is True


def _constant(expression: Expression) -> str | None:
    """The letter of a constant added at the end: "+ C"."""
    match expression:
        case Apply("add", terms):
            return next((term.name for term in terms if isinstance(term, Symbol) and term.name in "CcK"), None)
        case _:
            return None
