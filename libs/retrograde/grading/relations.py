"""Equations, chains and inequalities: what a chain tells, and when two relations say the same."""

from __future__ import annotations

from collections.abc import Callable

from retrograde.grading.exact import rational
from retrograde.grading.expression import (
    Apply,
    Collection,
    Expression,
    Family,
    Number,
    Relation,
    Symbol,
    difference,
    renamed,
    symbols,
    walk,
)
from retrograde.grading.probing import same_zeros
from retrograde.grading.scalars import same_scalar

Same = Callable[[Expression, Expression], bool | None]
_EQUAL = frozenset({"=", "==", "~"})
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!=", "~": "~", "==": "==", "in": "in"}
_FUNCTION_NAMES = frozenset("fghyFGHPQTSuvwpq")
_UNKNOWNS = frozenset("xyztnmk")
_LETTERS_TOO = (Symbol("e"), Symbol("i"))  # "e = 3/5" tells an eccentricity
_LOOSE = 0.02  # how far the two sides of "\\approx" may be apart


def contradicts(expression: Expression) -> bool:
    """Whether a chain of equations between numbers is false in itself, like 1 = 2 = 3."""
    if not isinstance(expression, Relation) or not set(expression.signs) <= _EQUAL:
        return False
    sides = expression.sides[1:] if expression.sides[0] in _LETTERS_TOO else expression.sides
    constant = [side for side in sides if not symbols(side) and not isinstance(side, Collection | Relation)]
    if not constant:
        return False
    first, *others = constant
    sign = "~" if "~" in expression.signs else "="
    return any(_differ(first, other, sign) for other in others)


def _differ(first: Expression, other: Expression, sign: str) -> bool:
    left, right = rational(first), rational(other)
    if left is not None and right is not None and sign == "~":
        return abs(left - right) > _LOOSE * max(abs(left), abs(right))
    if left is not None and left == right:
        return False
    return sign != "~" and same_scalar(other, first) is False and same_scalar(first, other) is False


def told_value(expression: Expression) -> Expression | None:
    """What an equation tells: the side that is no name; the last one of a chain. None for no equation."""
    if not isinstance(expression, Relation) or not set(expression.signs) <= _EQUAL:
        return None
    *heads, last = expression.sides
    if _is_name(last) and not _is_head(heads[0]):
        return heads[0]
    if expression.signs[-1] == "~" and len(heads) > 1:
        return heads[-1]
    return last


def same_relation(answer: Expression, gold: Expression, same: Same) -> bool | None:
    """Whether the two say the same; at least one is a relation."""
    if isinstance(answer, Relation) and isinstance(gold, Relation):
        return _same_relations(answer, gold, same)
    if _is_unsolved(answer) or _is_unsolved(gold):
        return False
    told, asked = _values(answer), _values(gold)
    if not told or not asked:
        return False
    outcomes = [same(left, right) for left in told for right in asked]
    return True if True in outcomes else outcomes[0]


def _is_unsolved(expression: Expression) -> bool:
    """Whether it is an equation for one unknown, like 2x = 6, and not a statement of its value."""
    match expression:
        case Relation((side, Number()), ("=",)) if isinstance(side, Apply) and function_head(side) is None:
            unknown = symbols(side)
            return len(unknown) == 1 and unknown <= _UNKNOWNS and _is_linear(side)
        case _:
            return False


def _is_linear(side: Expression) -> bool:
    match side:
        case Apply("add" | "mul" | "div" | "neg", parts):
            return all(map(_is_linear, parts))
        case _:
            return isinstance(side, Symbol | Number)


def _values(expression: Expression) -> list[Expression]:
    """The values an expression tells: an exact one and its approximation are both told."""
    if not isinstance(expression, Relation):
        return [expression]
    if expression.sides[0] == Symbol("?"):
        return [expression.sides[1]]
    if not set(expression.signs) <= _EQUAL:
        return []
    if expression.signs[-1] == "~":
        return [side for side in expression.sides[-2:] if not _is_head(side)]
    value = told_value(expression)
    return [] if value is None else [value]


def _same_relations(answer: Relation, gold: Relation, same: Same) -> bool | None:
    if not (set(answer.signs) <= _EQUAL and set(gold.signs) <= _EQUAL):
        return _same_order(answer, gold, same)
    if not symbols(answer) or not symbols(gold):
        return _same_told(answer, gold, same)
    if _same_sides(answer, gold, same):
        return True
    if _is_definition(answer) and _is_definition(gold):
        return _same_definition(answer, gold, same)
    if len(answer.signs) == len(gold.signs) == 1:
        variables = symbols(answer) | symbols(gold)
        if same_zeros(difference(*answer.sides), difference(*gold.sides), variables):
            return True
    if not _is_head(answer.sides[0]) or not _is_head(gold.sides[0]):
        return False
    return _same_told(answer, gold, same) if answer.sides[0] == gold.sides[0] else False


def _same_told(answer: Relation, gold: Relation, same: Same) -> bool | None:
    outcomes = [same(left, right) for left in _values(answer) for right in _values(gold)]
    return True if True in outcomes else False if False in outcomes else None


def _same_sides(answer: Relation, gold: Relation, same: Same) -> bool:
    return answer.signs == gold.signs and all(same(*pair) for pair in zip(answer.sides, gold.sides, strict=True))


def _same_order(answer: Relation, gold: Relation, same: Same) -> bool | None:
    mirrored = Relation(answer.sides[::-1], tuple(_MIRROR.get(sign, sign) for sign in reversed(answer.signs)))
    unnamed = Symbol("?")
    for told in (answer, mirrored):
        if told.signs != gold.signs:
            continue
        pairs = zip(told.sides, gold.sides, strict=True)
        if all(unnamed in pair or same(*pair) for pair in pairs):
            return True
    return False


def _is_name(side: Expression) -> bool:
    return isinstance(side, Symbol) and side.name not in {"pi", "e", "oo", "i"}


def _is_head(side: Expression) -> bool:
    return isinstance(side, Symbol) or function_head(side) is not None


def function_head(side: Expression) -> tuple[str, str] | None:
    """(f, x) of `f(x)`; the A of `P(A)` is no variable."""
    match side:
        case Apply("mul", (Symbol(name), Symbol(argument))) if name[0] in _FUNCTION_NAMES and argument.islower():
            return name, argument
        case _:
            return None


def _is_definition(relation: Relation) -> bool:
    """`y = ...` or `f(x) = ...` whose head does not come again."""
    head = relation.sides[0]
    if not _is_head(head) or len(relation.sides) != len(("head", "body")):
        return False
    name = head.name if isinstance(head, Symbol) else (function_head(head) or ("",))[0]
    return name not in symbols(relation.sides[1])


def _stem(side: Expression) -> str:
    """`h` of `H` and `h_{max}`: the letter that stands for the quantity."""
    return side.name.partition("_")[0].casefold() if isinstance(side, Symbol) else ""


def with_argument_of(gold: Expression, answer: Expression) -> Expression:
    """`f(n) = n + c` with the argument called as in `f(x) = x + c`, where each side names one."""
    told, asked = _arguments(answer), _arguments(gold)
    if not asked and isinstance(gold, Relation) and gold.sides[0] == Symbol("y") and "x" in symbols(gold):
        asked = {"x"}
    if len(told) != 1 or len(asked) != 1 or told == asked or asked & symbols(answer):
        return answer
    return renamed(answer, {told.pop(): asked.pop()})


def _arguments(expression: Expression) -> set[str]:
    """What functions are applied to on the left sides of definitions."""
    parts = [expression.body] if isinstance(expression, Family) else [expression]
    relations = [part for outer in parts for part in walk(outer) if isinstance(part, Relation)]
    heads = [function_head(relation.sides[0]) for relation in relations]
    return {head[1] for head in heads if head}


def _same_definition(answer: Relation, gold: Relation, same: Same) -> bool | None:
    """Two definitions: what is defined may be called y or f(x), its argument x or t."""
    told, asked = function_head(answer.sides[0]), function_head(gold.sides[0])
    body, wanted = answer.sides[1], gold.sides[1]
    if told is None and asked is None:
        left, right = answer.sides[0], gold.sides[0]
        are_names = isinstance(left, Symbol) and isinstance(right, Symbol)
        if are_names and _stem(left) != _stem(right) and not {_stem(left), _stem(right)} <= _FUNCTION_NAMES:
            return same_zeros(difference(*answer.sides), difference(*gold.sides), symbols(answer) | symbols(gold))
    if told and asked and told[1] != asked[1]:
        body = renamed(body, {told[1]: asked[1]})
    return same(body, wanted)
