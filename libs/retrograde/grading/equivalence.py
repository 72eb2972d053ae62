r"""Which comparison the gold asks for, and its outcome.

    number       exact; a gold written with decimals is met by what rounds to it (scalars.py)
    x = 3        against 3, and 3 against x = 3; two equations up to a factor
    x > 3        against (3, \infty) (regions.py)
    {1, 2}       in any order, as a bare list "1, 2" or "2 and 1" too, each item once
    (1, 2)       in order
    x = 1, y = 2 against (1, 2): by name, or in the order of the letters
    1 + 4k       against 4k - 3, k an integer (families.py)

`equivalent` answers True, False, or None where the two cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard, TypeVar

from retrograde.grading.expression import Apply, Collection, Expression, Family, Number, Quantity, Relation, Symbol
from retrograde.grading.families import same_family
from retrograde.grading.letters import as_vector, nameless_letters, renamings
from retrograde.grading.records import Record, are_numbered, bare_values, records
from retrograde.grading.regions import INTERVALS, as_interval, is_region, same_names, same_region
from retrograde.grading.relations import same_relation, told_value, with_argument_of
from retrograde.grading.scalars import same_scalar

MAX_ITEMS = 64
_UNORDERED = frozenset({"{}", ",", "or"})
_SETS = frozenset({"cup", "cap", "setminus"})
_Item = TypeVar("_Item")


def equivalent(answer: Expression, gold: Expression) -> bool | None:
    """Whether `answer` is what `gold` says, be it under other names for letters that stand for any number.

    Raises CostError, and UndefinedError for a value like 1/0.
    """
    answer = with_argument_of(gold, answer)
    same = _equivalent(answer, gold)
    if same:
        return same
    bare = _bare(gold)
    others = renamings(_bare(answer), bare, nameless_letters(gold) | nameless_letters(bare))
    return any(_equivalent(other, bare) is True for other in others) or same


def _equivalent(answer: Expression, gold: Expression) -> bool | None:
    answer, gold = _simplest(answer), _simplest(gold)
    answer, gold = _unqualified(answer, gold), _unqualified(gold, answer)
    if isinstance(answer, Family) or isinstance(gold, Family):
        return same_family(answer, gold)
    if is_region(answer) or is_region(gold):
        return _same_region(answer, gold)
    found = _same_records(answer, gold)
    if found is not None:
        return found
    if _holds_collection(answer) or _holds_collection(gold):
        return _same_collection(as_interval(answer), as_interval(gold))
    return _same_single(answer, gold)


def _same_single(answer: Expression, gold: Expression) -> bool | None:
    if isinstance(answer, Relation) or isinstance(gold, Relation):
        return same_relation(answer, gold, _equivalent)
    return same_scalar(answer, gold)


def _unqualified(expression: Expression, other: Expression) -> Expression:
    """`at least 2` as 2 where the other side is a number."""
    match expression:
        case Relation((Symbol("?"), value), _) if isinstance(other, Number | Apply | Quantity):
            return value
        case _:
            return expression


def _holds_collection(expression: Expression) -> bool:
    return isinstance(expression, Collection) or isinstance(_bare(expression), Collection)


def _simplest(expression: Expression) -> Expression:
    r"""`x \in S` as S; a list of one, or of alternatives that are all the same, as that one."""
    match expression:
        case Relation((_, side), ("in",)):
            return side
        case Collection("or", items) if _are_same(items):
            return _simplest(items[0])
        case Collection("," | "or", (item,)):
            return _simplest(item)
        case Collection("or", items):
            return Collection("or", tuple(_simplest(item) for item in items))
        case _:
            return expression


def _are_same(items: Sequence[Expression]) -> bool:
    if any(isinstance(item, Collection | Family) or is_region(item) for item in items):
        return False
    return all(_equivalent(item, items[0]) or _equivalent(items[0], item) for item in items[1:])


def _same_region(answer: Expression, gold: Expression) -> bool | None:
    same = same_region(answer, gold) if same_names(answer, gold) else False
    if same is not None:
        return same
    answer, gold = as_interval(answer), as_interval(gold)
    if isinstance(answer, Collection) or isinstance(gold, Collection):
        return _same_collection(answer, gold)
    if isinstance(answer, Relation) or isinstance(gold, Relation):
        return same_relation(answer, gold, _equivalent)
    return False  # a number or letter is no set of reals


def _same_records(answer: Expression, gold: Expression) -> bool | None:
    """Assignments `x = 1, y = 2`, one or several, against assignments, tuples or values; None if there are none."""
    told, asked = records(answer), records(gold)
    if told is None and asked is None:
        return None
    if told is not None and asked is not None:
        if are_numbered(told[0]) and are_numbered(asked[0]):
            return _same_bag(list(told[0].values()), list(asked[0].values()), _is_equivalent)
        return _same_bag(told, asked, _same_record)
    known, other = (told, gold) if told is not None else (asked, answer)
    if known is None or not isinstance(other, Collection):
        return None
    pairs = [(values, other) if told is not None else (other, values) for values in bare_values(known, other)]
    return any(_equivalent(*pair) for pair in pairs)


def _same_record(told: Record, asked: Record) -> bool:
    """By name; where words name the values, and others, in the order told."""
    if told.keys() == asked.keys():
        return all(_is_equivalent(told[name], asked[name]) for name in told)
    if len(told) != len(asked) or not any(name.startswith("~") for name in (*told, *asked)):
        return False
    matched = _matched(told, asked)
    if matched:
        return all(_is_equivalent(told[left], asked[right]) for left, right in matched)
    return all(_is_equivalent(*pair) for pair in zip(told.values(), asked.values(), strict=True))


def _matched(told: Record, asked: Record) -> list[tuple[str, str]]:
    """Pairs of names of which one holds the other's words; [] where that is not one to one."""
    pairs = []
    for left in told:
        words = set(left.strip("~").split())
        meeting = [right for right in asked if words <= (other := set(right.strip("~").split())) or other <= words]
        if len(meeting) != 1:
            return []
        pairs.append((left, meeting[0]))
    return pairs if len({right for _, right in pairs}) == len(pairs) else []


def _same_collection(answer: Expression, gold: Expression) -> bool | None:
    if _is_matrix(answer) or _is_matrix(gold):
        return _same_matrix(answer, gold)
    if _same_items(answer, gold):
        return True
    if _is_named(answer) and _is_named(gold):
        return False
    bare = _bare(answer), _bare(gold)
    if bare == (answer, gold):
        return False
    if _is_named(answer) or _is_named(gold):
        bare = _ordered(bare[0]), _ordered(bare[1])
    return equivalent(*bare)


def _ordered(expression: Expression) -> Expression:
    """A list as a tuple: what has names has an order."""
    return Collection("()", expression.items) if _is_list(expression) else expression


def _is_named(expression: Expression) -> bool:
    """Whether each item says what it is the value of, and not all say the same."""
    if not isinstance(expression, Collection) or not all(isinstance(item, Relation) for item in expression.items):
        return False
    heads = [item.sides[0] for item in expression.items if isinstance(item, Relation)]
    return len(set(heads)) == len(heads) > 1


def _same_items(answer: Expression, gold: Expression) -> bool:
    if not isinstance(answer, Collection) and not isinstance(gold, Collection):
        return _same_single(answer, gold) is True
    answer_items, gold_items = _items(answer), _items(gold)
    answer_kind, gold_kind = _kind(answer), _kind(gold)
    if answer_kind == gold_kind == "{}":
        answer_items, gold_items = _distinct(answer_items), _distinct(gold_items)
    if len(answer_items) != len(gold_items) or len(gold_items) > MAX_ITEMS:
        return False
    if answer_kind in _SETS or gold_kind in _SETS:
        return answer_kind == gold_kind and _same_bag(answer_items, gold_items, _is_equivalent)
    if answer_kind in _UNORDERED and gold_kind in _UNORDERED:
        return _same_bag(answer_items, gold_items, _is_equivalent)
    if not _kinds_meet(answer_kind, gold_kind, len(gold_items)):
        return False
    if answer_kind == gold_kind == ":":
        return _same_ratio(answer_items, gold_items)
    return all(_is_equivalent(*pair) for pair in zip(answer_items, gold_items, strict=True))


def _kinds_meet(answer: str, gold: str, num_items: int) -> bool:
    """Whether items of these kinds may be compared in order: brackets matter to intervals, and three are none."""
    kinds = {answer, gold}
    if len(kinds) == 1 or "," in kinds:
        return True
    return kinds <= {"<>", "()", "[]"} and ("<>" in kinds or num_items > len(("low", "high")))


def _same_ratio(answers: Sequence[Expression], golds: Sequence[Expression]) -> bool:
    """Each side times the other's first."""
    return all(
        _is_equivalent(Apply("mul", (answer, golds[0])), Apply("mul", (gold, answers[0])))
        for answer, gold in zip(answers, golds, strict=True)
    )


def _distinct(items: Sequence[Expression]) -> tuple[Expression, ...]:
    found: list[Expression] = []
    for item in items[:MAX_ITEMS]:
        if not any(item == other or _is_equivalent(item, other) for other in found):
            found.append(item)
    return tuple(found)


def _is_equivalent(answer: Expression, gold: Expression) -> bool:
    """For items: a set is never the one thing in it."""
    if (_kind(answer) == "{}") != (_kind(gold) == "{}") and not is_region(answer) and not is_region(gold):
        return False
    return _equivalent(answer, gold) is True


def _bare(expression: Expression) -> Expression:
    """`(x, y) = (1, 2)` as (1, 2), `A(1, 2)` too, in lists also; i + 2j as (1, 2)."""
    if isinstance(expression, Collection) and expression.kind in _UNORDERED:
        flat = [part for item in map(_bare, expression.items) for part in (item.items if _is_list(item) else (item,))]
        return Collection(expression.kind, tuple(flat))
    value = told_value(expression) or expression
    match value:
        case Apply("mul", (Symbol(name), Collection("()", _) as point)) if name[0].isupper():
            return point
        case _:
            return as_vector(value)


def _is_list(expression: Expression) -> TypeGuard[Collection]:
    return isinstance(expression, Collection) and expression.kind in {",", "or"}


def _items(expression: Expression) -> tuple[Expression, ...]:
    return expression.items if isinstance(expression, Collection) else (expression,)


def _kind(expression: Expression) -> str:
    return expression.kind if isinstance(expression, Collection) else ","


def _same_bag(answers: Sequence[_Item], golds: Sequence[_Item], same: Callable[[_Item, _Item], bool]) -> bool:
    """Whether each gold is met by an answer of its own."""
    waiting = list(golds)
    for answer in answers:
        met = next((index for index, gold in enumerate(waiting) if same(answer, gold)), None)
        if met is None:
            return False
        del waiting[met]
    return not waiting


def _is_matrix(expression: Expression) -> bool:
    bare = _bare(expression)
    return isinstance(bare, Collection) and bare.kind == "matrix"


def _same_matrix(answer: Expression, gold: Expression) -> bool:
    """Cell by cell; a single row or column meets a tuple."""
    left, right = _rows(answer), _rows(gold)
    if left is None or right is None:
        return False
    if not (_is_matrix(answer) and _is_matrix(gold)):
        left, right = _as_row(left), _as_row(right)
    return [len(row) for row in left] == [len(row) for row in right] and all(
        _is_equivalent(*pair) for rows in zip(left, right, strict=True) for pair in zip(*rows, strict=True)
    )


def _rows(expression: Expression) -> list[list[Expression]] | None:
    match _bare(expression):
        case Collection(_, items) if items and all(isinstance(item, Collection) for item in items):
            return [list(_items(item)) for item in items]
        case Collection(kind, items) if kind in INTERVALS | {",", "<>"}:
            return [list(items)]
        case _:
            return None


def _as_row(rows: list[list[Expression]]) -> list[list[Expression]]:
    """A single column as a row."""
    return [[cell for row in rows for cell in row]] if all(len(row) == 1 for row in rows) else rows
