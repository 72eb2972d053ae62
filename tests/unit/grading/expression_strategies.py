"""Hypothesis strategies for expressions, the styles they are spelled in, and pairs that laws are about."""

from __future__ import annotations

from expression_algebra import (
    NUMBERS,
    VARIABLES,
    at,
    differ,
    interval,
    is_tame,
    paths,
    polynomial,
    put,
    rewrites,
    union,
)
from expressions import Node, Style, integer
from hypothesis import assume
from hypothesis import strategies as st

small = st.integers(1, 20)
integers = st.integers(0, 999).map(integer)
decimals = st.tuples(st.integers(0, 99), st.integers(1, 99)).map(lambda n: Node("dec", (), "{}.{:02d}".format(*n)))
fractions = st.tuples(small, st.integers(2, 12)).map(lambda pair: Node("frac", (), f"{pair[0]}/{pair[1]}"))
mixed = st.tuples(small, st.integers(1, 6), st.integers(7, 12)).map(lambda n: Node("mixed", (), "{} {}/{}".format(*n)))
numbers = st.one_of(integers, decimals, fractions)
roots = small.map(lambda n: Node("sqrt", (integer(n),)))
constants = st.sampled_from(["pi", "e"]).map(lambda name: Node("const", (), name))
variables = st.sampled_from(VARIABLES).map(lambda name: Node("var", (), name))
functions = st.one_of(
    st.tuples(st.sampled_from(["sin", "cos", "tan", "ln", "exp"]), small).map(
        lambda pair: Node("fn", (integer(pair[1]),), pair[0])
    ),
    st.tuples(st.sampled_from("23579"), st.integers(2, 99)).map(lambda pair: Node("log", (integer(pair[1]),), pair[0])),
)
binary = st.sampled_from(["add", "sub", "mul", "div"])


def _grown(leaves: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(binary, inner, inner).map(lambda parts: Node(parts[0], parts[1:])),
            inner.map(lambda part: Node("neg", (part,))),
            st.tuples(inner, st.sampled_from("23")).map(lambda pair: Node("pow", (pair[0],), pair[1])),
        ),
        max_leaves=4,
    )


closed = _grown(st.one_of(numbers, roots, constants, functions)).filter(is_tame)
open_ones = _grown(st.one_of(integers, fractions, variables, variables)).filter(is_tame)
polynomials = st.lists(st.integers(-9, 9), min_size=2, max_size=4).map(polynomial)
complex_numbers = st.tuples(integers, small).map(
    lambda pair: Node("add", (pair[0], Node("mul", (integer(pair[1]), Node("const", (), "i")))))
)
real_scalars = st.one_of(numbers, mixed, closed, open_ones, polynomials)
scalars = st.one_of(real_scalars, complex_numbers)
points_of_line = st.lists(st.integers(-30, 30), min_size=2, max_size=4, unique=True)
sets = points_of_line.map(lambda points: Node("set", tuple(map(integer, points))))
tuples = st.lists(numbers, min_size=2, max_size=4).map(lambda items: Node("tuple", tuple(items)))
intervals = st.tuples(points_of_line, st.sampled_from(["[]", "[)", "(]"])).map(lambda pair: interval(*pair))
unions = st.tuples(st.integers(-20, -1), st.integers(1, 20), st.sampled_from(["()", "[)", "[]"])).map(
    lambda parts: union(*parts)
)
matrices = st.sampled_from("123").flatmap(
    lambda columns: st.lists(integers, min_size=2 * int(columns), max_size=2 * int(columns)).map(
        lambda items: Node("matrix", tuple(items), columns)
    )
)
equations = st.one_of(numbers, polynomials).map(lambda side: Node("equation", (Node("var", (), "y"), side)))
inequalities = st.tuples(st.sampled_from(["<", ">", "\\le", "\\ge"]), st.integers(-20, 20)).map(
    lambda pair: Node("inequality", (Node("var", (), "x"), integer(pair[1])), pair[0])
)
measures = st.tuples(st.one_of(integers, decimals), st.sampled_from(["cm", "kg", "hours"])).map(
    lambda pair: Node("quantity", (pair[0],), pair[1])
)
counts = integers.map(lambda number: Node("quantity", (number,), "apples"))
collections = st.one_of(sets, tuples, intervals, unions, matrices, equations, inequalities, measures, counts)
everything = st.one_of(scalars, collections)

styles = st.builds(
    Style,
    latex=st.booleans(),
    fraction=st.sampled_from(["\\frac", "\\dfrac", "\\tfrac", "/"]),
    times=st.sampled_from(["\\cdot ", "\\times ", "*", ""]),
    power_root=st.booleans(),
    big_brackets=st.booleans(),
    space=st.sampled_from(["", " ", "\\, ", "  "]),
    unicode=st.booleans(),
    bare_exponent=st.booleans(),
).map(lambda style: style if style.latex else _plain(style))


def _plain(style: Style) -> Style:
    times = "*" if "\\" in style.times else style.times
    space = " " if "\\" in style.space else style.space
    return Style(latex=False, times=times, power_root=style.power_root, space=space, unicode=style.unicode,
                 bare_exponent=style.bare_exponent)  # fmt: skip


@st.composite
def perturbed(draw: st.DrawFn, strategy: st.SearchStrategy[Node]) -> tuple[Node, Node]:
    """(an expression, the same with one number changed so much that its value is another everywhere)."""
    node = draw(strategy)
    places = [path for path in paths(node) if at(node, path).operation in NUMBERS]
    assume(places)
    path = draw(st.sampled_from(places))
    changed = put(node, path, draw(numbers))
    assume(differ(node, changed))
    return node, changed


@st.composite
def rewritten(draw: st.DrawFn, strategy: st.SearchStrategy[Node]) -> tuple[Node, Node]:
    """(an expression, an equal one that differs by one to three rules of algebra)."""
    node = changed = draw(strategy)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths(changed))))
        found = list(rewrites(at(changed, path)))
        changed = put(changed, path, draw(st.sampled_from(found)))
    assume(is_tame(changed))
    return node, changed
