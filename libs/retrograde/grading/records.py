"""Assignments in a row: `x = 1, y = 2` is a record, `x = 1, y = 2 or x = 2, y = 1` are two."""

from __future__ import annotations

from collections.abc import Iterator

from retrograde.grading.expression import Apply, Collection, Expression, Relation, Symbol

Record = dict[str, Expression]
_UNKNOWNS = frozenset("xyztrkmn") | {"lambda", "theta"}
_ROWS = frozenset({",", "or", "()", "{}"})


def records(expression: Expression) -> list[Record] | None:
    """The records an expression tells, each of two names or more; None if it is anything else."""
    found: list[Record] = []
    if not isinstance(expression, Collection | Relation) or not _collect(expression, found):
        return None
    found = [record for record in found if record]
    names = {frozenset(record) for record in found}
    return found if found and len(names) == 1 and len(found[0]) > 1 else None


def _collect(expression: Expression, found: list[Record]) -> bool:
    """Adds the assignments in `expression`; False if there is anything else in it."""
    match expression:
        case Relation((*heads, value), signs) if set(signs) == {"="} and all(
            isinstance(head, Symbol) for head in heads
        ):
            names = [head.name for head in heads if isinstance(head, Symbol)]
            if not found or any(name in found[-1] for name in names):
                found.append({})
            found[-1] |= dict.fromkeys(names, value)
            return True
        case Relation((Collection("()", names), Collection("()", values)), ("=",)) if len(names) == len(values):
            pairs = [Relation(pair, ("=",)) for pair in zip(names, values, strict=True)]
            found.append({})
            return all(_collect(pair, found) for pair in pairs)
        case Apply("mul", (Symbol(name), Collection("()") as point)) if name[0].isupper():
            return _collect(Relation((Symbol(name), point), ("=",)), found)
        case Collection(kind, items) if kind in _ROWS:
            if kind != ",":
                found.append({})
            return all(_collect(item, found) for item in items)
        case _:
            return False


def bare_values(known: list[Record], other: Expression) -> Iterator[Expression]:
    """The values without their names: in the order told, and where letters name them, in the order of these."""
    if len(known) == 1 and are_numbered(known[0]):
        yield Collection(",", tuple(known[0].values()))
    for ordered in (list, sorted) if all(map(_has_letters, known)) else (list,):
        rows = [[record[name] for name in ordered(record)] for record in known]
        tuples = [Collection("()", tuple(row)) for row in rows]
        if len(tuples) > 1 or _holds_tuples(other):
            yield Collection(",", tuple(tuples)) if len(tuples) > 1 else tuples[0]
        else:
            yield tuples[0]


def are_numbered(record: Record) -> bool:
    """Whether the names are one unknown with numbers: `x_1 = 2, x_2 = 3` tells two values of x."""
    stems = {name.partition("_")[0] for name in record}
    are_alike = stems <= _UNKNOWNS or all(isinstance(value, Collection) for value in record.values())
    return len(stems) == 1 and are_alike and all(name.rpartition("_")[2].isdigit() for name in record)


def _has_letters(record: Record) -> bool:
    return all(len(name) == 1 and name.islower() for name in record)


def _holds_tuples(other: Expression) -> bool:
    return isinstance(other, Collection) and any(
        isinstance(item, Collection) and item.kind == "()" for item in other.items
    )
