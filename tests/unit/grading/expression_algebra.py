"""What laws about expressions need: fair values, places inside an expression, and rules of algebra."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath
from expressions import Node, integer, value

VARIABLES = ("x", "y")
NUMBERS = {"int", "dec", "frac", "mixed"}
COLLECTIONS = {"set", "tuple", "list", "interval", "union", "matrix", "equation", "inequality", "quantity"}
LARGEST_VALUE = 10**5
LEAST_SIZE = 1e-6  # nothing but 0 itself is nearer to 0
LEAST_CHANGE = 0.06  # more than half of the last place of any decimal drawn here
LEAST_RELATIVE_CHANGE = 0.02
POINTS: tuple[Mapping[str, Any], ...] = tuple(
    {name: mpmath.mpf(random.Random(f"{name}{n}").randint(100, 400)) / 97 for name in VARIABLES} for n in range(3)
)


def polynomial(factors: list[int]) -> Node:
    """The polynomial with these factors of 1, x, x^2, ..., without the terms that are zero."""
    variable = Node("var", (), "x")
    powers = [variable if n == 1 else Node("pow", (variable,), str(n)) for n in range(1, len(factors))]
    terms = [Node("mul", (integer(abs(a)), power)) for a, power in zip(factors[1:], powers, strict=True) if a]
    signs = [a < 0 for a in factors[1:] if a]
    total = integer(factors[0])
    for term, negative in zip(terms, signs, strict=True):
        total = Node("sub" if negative else "add", (total, term))
    return total


def union(below: int, above: int, brackets: str) -> Node:
    """Of two intervals with a gap between them."""
    return Node("union", (interval([below - 3, below], brackets), interval([above, above + 4], "[)")))


def interval(points: list[int], brackets: str) -> Node:
    """Between the least and the largest of `points`."""
    return Node("interval", (integer(min(points)), integer(max(points))), brackets)


def values(node: Node) -> list[Any] | None:
    """The values at three points with 30 digits; None where one is missing or too large to be fair."""
    with mpmath.workdps(30):
        try:
            found = [value(node, point) for point in POINTS]
        except (ZeroDivisionError, ValueError, OverflowError):
            return None
    fair = all(mpmath.isfinite(number) and abs(number) < LARGEST_VALUE for number in found)
    return found if fair else None


def is_tame(node: Node) -> bool:
    """Whether it and all its parts have values that are neither huge nor all but zero."""
    found = values(node)
    return (
        found is not None
        and all(number == 0 or abs(number) > LEAST_SIZE for number in found)
        and all(map(is_tame, node.parts))
    )


def paths(node: Node) -> Iterator[tuple[int, ...]]:
    """The ways to all nodes below and at `node`."""
    yield ()
    for index, part in enumerate(node.parts):
        yield from ((index, *path) for path in paths(part))


def at(node: Node, path: tuple[int, ...]) -> Node:
    """The node at the end of the way."""
    return at(node.parts[path[0]], path[1:]) if path else node


def put(node: Node, path: tuple[int, ...], new: Node) -> Node:
    """`node` with `new` at the end of the way."""
    if not path:
        return new
    first, *rest = path
    parts = (*node.parts[:first], put(node.parts[first], tuple(rest), new), *node.parts[first + 1 :])
    return Node(node.operation, parts, node.text)


def differ(left: Node, right: Node) -> bool:
    """Whether the values differ clearly at each point; of two collections, those of one of their items."""
    if left.operation in COLLECTIONS:
        return any(differ(*pair) for pair in zip(left.parts, right.parts, strict=True))
    ours, theirs = values(left), values(right)
    if ours is None or theirs is None:
        return False
    gaps = [(abs(a - b), max(abs(a), abs(b))) for a, b in zip(ours, theirs, strict=True)]
    return all(gap > LEAST_CHANGE and gap > LEAST_RELATIVE_CHANGE * size for gap, size in gaps)


def rewrites(node: Node) -> Iterator[Node]:
    """What is equal to `node` by one rule."""
    one, zero = integer(1), integer(0)
    yield Node("add", (node, zero))
    yield Node("mul", (one, node))
    yield Node("div", (Node("mul", (node, integer(3))), integer(3)))
    yield Node("neg", (Node("neg", (node,)),))
    squares = tuple(Node("pow", (Node("fn", (one,), name),), "2") for name in ("sin", "cos"))
    yield Node("mul", (node, Node("add", squares)))
    match node:
        case Node("add" | "mul", (left, right)):
            yield Node(node.operation, (right, left))
        case Node("sub", (left, right)):
            yield Node("add", (left, Node("neg", (right,))))
        case Node("div", (left, right)):
            yield Node("mul", (left, Node("pow", (right,), "-1")))
        case Node("pow", (base,), "2"):
            yield Node("mul", (base, base))
        case Node("int", (), text) if text != "0":
            yield Node("pow", (Node("sqrt", (node,)),), "2")
            yield Node("frac", (), f"{2 * int(text)}/2")
        case Node("dec", (), text):
            exact = Fraction(text)
            yield Node("div", (integer(exact.numerator), integer(exact.denominator)))
    match node:
        case Node("mul", (factor, Node("add" | "sub" as sign, (left, right)))):
            yield Node(sign, (Node("mul", (factor, left)), Node("mul", (factor, right))))
