"""Which comparison the gold asks for, and its outcome.

    number       exact; a gold written with decimals is met by what rounds to it; "50%" is met by 50 and by 0.5
    expression   rational arithmetic, then random points; variables by name
    x = 3        against 3, and 3 against x = 3; two equations up to a factor
    {1, 2}       in any order, as a bare list "1, 2" or "2 and 1" too, each item once
    (1, 2]       in order, brackets included; unions in any order
    text         words, whatever their case and punctuation

`equivalent` answers True, False, or None where the two cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from retrograde.grading.exact import rational
from retrograde.grading.expression import Apply, Collection, Expression, Number, Relation, Symbol, symbols, walk
from retrograde.grading.probing import same_value, same_zeros

MAX_ITEMS = 64
MIN_ROUNDED_DIGITS = 6  # a decimal answer meets an irrational gold with this many significant digits or more
_UNORDERED = {"{}", ",", "cup"}
_UNIT_LETTERS = frozenset("mgslLhJNVWAKCFHT")


def equivalent(answer: Expression, gold: Expression) -> bool | None:
    """Whether `answer` is what `gold` says. Raises CostError, and UndefinedError for a value like 1/0."""
    answer, gold = _without_unit(_spread(answer), gold), _without_unit(_spread(gold), answer)
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_relation(answer, gold)
    if isinstance(gold, Collection) or isinstance(answer, Collection):
        return _same_collection(answer, gold)
    return _same_number(answer, gold)


def contradicts(relation: Expression) -> bool:
    """Whether a chain of equations between numbers is false in itself, like 1 = 2 = 3."""
    if not isinstance(relation, Relation) or set(relation.signs) != {"="} or symbols(relation):
        return False
    first, *others = relation.sides
    return any(_same_number(other, first) is False and _same_number(first, other) is False for other in others)


def _same_number(answer: Expression, gold: Expression) -> bool | None:
    left, right = rational(answer), rational(gold)
    if left is None or right is None:
        variables = symbols(answer) | symbols(gold)
        same = same_value(answer, gold, variables)
        return same or (_rounds_to(answer, gold) if not variables else same)
    if left == right or (_is_percent(answer) != _is_percent(gold) and left * 100 == right):
        return True
    if _is_percent(answer) != _is_percent(gold) and left == right * 100:
        return True
    return isinstance(gold, Number) and gold.places is not None and _rounded(left, gold.places) == gold.value


def _is_percent(expression: Expression) -> bool:
    return isinstance(expression, Number) and expression.percent


def _rounded(value: Fraction, places: int) -> Fraction:
    """`value` to `places` decimals, halves away from zero."""
    scale = 10**places
    nearest = (abs(value) * scale + Fraction(1, 2)).__floor__()
    return Fraction(nearest if value >= 0 else -nearest, scale)


def _rounds_to(answer: Expression, gold: Expression) -> bool | None:
    """Whether one is a decimal of enough digits and the other lies within half of its last place."""
    for decimal, value in ((answer, gold), (gold, answer)):
        size = decimal.arguments[0] if isinstance(decimal, Apply) and decimal.operation == "neg" else decimal
        if not isinstance(size, Number) or not size.places:
            continue
        digits = len(str(abs(size.value.numerator * 10**size.places // size.value.denominator)))
        if decimal is gold or digits >= MIN_ROUNDED_DIGITS:
            half = Number(Fraction(1, 2 * 10**size.places))
            return _within(value, decimal, half)
    return False


def _within(value: Expression, decimal: Expression, half: Number) -> bool | None:
    """|value - decimal| <= half, asked as |difference| + | half - |difference| | = half."""
    difference = Apply("abs", (Apply("add", (value, Apply("neg", (decimal,)))),))
    rest = Apply("abs", (Apply("add", (half, Apply("neg", (difference,)))),))
    return same_value(Apply("add", (difference, rest)), half, frozenset())


def _same_relation(answer: Expression, gold: Expression) -> bool | None:
    if not (isinstance(answer, Relation) and isinstance(gold, Relation) and symbols(gold) and symbols(answer)):
        return _compare_told(answer, gold)
    if _same_sides(answer, gold):
        return True
    if answer.signs == gold.signs == ("=",):
        return same_zeros(_difference(answer), _difference(gold), symbols(answer) | symbols(gold))
    return _same_sides(_mirrored(answer), gold) or _compare_told(answer, gold)


def _same_sides(answer: Relation, gold: Relation) -> bool:
    return answer.signs == gold.signs and all(equivalent(*pair) for pair in zip(answer.sides, gold.sides, strict=True))


_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def _mirrored(relation: Relation) -> Relation:
    """The same chain read from the right."""
    return Relation(relation.sides[::-1], tuple(_MIRROR[sign] for sign in reversed(relation.signs)))


def _compare_told(answer: Expression, gold: Expression) -> bool | None:
    """`x = 3` told or asked for as 3: the last side of a chain of equations stands for it."""
    told, asked = (_last_side(expression) for expression in (answer, gold))
    if told is None or asked is None:
        return False
    return equivalent(told, asked)


def _last_side(expression: Expression) -> Expression | None:
    if not isinstance(expression, Relation):
        return expression
    return expression.sides[-1] if set(expression.signs) == {"="} else None


def _difference(relation: Relation) -> Expression:
    return Apply("add", (relation.sides[0], Apply("neg", (relation.sides[1],))))


def _same_collection(answer: Expression, gold: Expression) -> bool | None:
    answer_items, gold_items = _items(answer), _items(gold)
    answer_kind, gold_kind = _kind(answer), _kind(gold)
    if len(answer_items) != len(gold_items) or len(gold_items) > MAX_ITEMS:
        return False
    if answer_kind in _UNORDERED and gold_kind in _UNORDERED:
        return _same_bag(answer_items, gold_items)
    if answer_kind != gold_kind and "," not in {answer_kind, gold_kind}:
        return False
    return all(equivalent(*pair) for pair in zip(answer_items, gold_items, strict=True))


def _items(expression: Expression) -> tuple[Expression, ...]:
    return expression.items if isinstance(expression, Collection) else (expression,)


def _kind(expression: Expression) -> str:
    return expression.kind if isinstance(expression, Collection) else ","


def _same_bag(answers: Sequence[Expression], golds: Sequence[Expression]) -> bool:
    """Whether each gold is met by an answer of its own."""
    waiting = list(golds)
    for answer in answers:
        met = next((gold for gold in waiting if equivalent(answer, gold)), None)
        if met is None:
            return False
        waiting.remove(met)
    return True


def _spread(expression: Expression) -> Expression:
    r"""`a \pm b` as the list of both; a bare list of equations `x = 1, x = 2` as its values."""
    if isinstance(expression, Collection):
        items = (
            [part for item in expression.items for part in _items(_spread(item))] if expression.kind == "," else None
        )
        return expression if items is None else Collection(",", tuple(items))
    if isinstance(expression, Relation) and _has_sign_choice(expression.sides[-1]):
        return _spread(expression.sides[-1])
    if not _has_sign_choice(expression):
        return expression
    return Collection(",", tuple(_with_sign(expression, operation) for operation in ("add", "neg")))


def _has_sign_choice(expression: Expression) -> bool:
    return any(isinstance(part, Apply) and part.operation == "pm" for part in walk(expression))


def _with_sign(expression: Expression, operation: str) -> Expression:
    if not isinstance(expression, Apply):
        return expression
    chosen = operation if expression.operation == "pm" else expression.operation
    return Apply(chosen, tuple(_with_sign(argument, operation) for argument in expression.arguments))


def _without_unit(expression: Expression, other: Expression) -> Expression:
    """`5 m` is 5 where the other side has no variables."""
    match expression:
        case Apply("mul", (number, Symbol(name))) if (
            name in _UNIT_LETTERS and not symbols(other) and not symbols(number)
        ):
            return number
        case _:
            return expression
