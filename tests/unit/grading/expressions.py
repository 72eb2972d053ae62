r"""Small expressions of our own: what they are, what they are worth, and how they may be spelled.

A `Node` has an operation, parts, and a text (digits, a name, a unit, brackets):

    int 12   dec 0.25   frac 3/4   mixed 2 1/3   const pi   var x
    add sub mul div neg pow(exponent in `text`) sqrt fn(sin) log(base in `text`)
    set tuple list interval("[)") union matrix("2" columns) equation inequality("<") quantity("cm")

`value` knows nothing of the grader, and `spell` writes a node in a `Style`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import mpmath

SUM, PRODUCT, ATOM = range(3)
_MATRIX = "\\begin{pmatrix} %s \\end{pmatrix}"
_PLAIN_SIGNS = {"<": "<", ">": ">", "\\le": "<=", "\\ge": ">="}
_SUPERSCRIPTS = {"2": "²", "3": "³"}


@dataclass(frozen=True, slots=True)
class Node:
    """An expression; see the module."""

    operation: str
    parts: tuple[Node, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Style:
    r"""A way to write. `latex` is \sqrt, \pi, \sin; the rest is about single signs."""

    latex: bool = True
    fraction: str = "\\frac"  # \frac, \dfrac, \tfrac or /
    times: str = "\\cdot "  # \cdot, \times, * or "" (side by side where that can be read)
    power_root: bool = False  # a^{1/2}
    big_brackets: bool = False  # \left( \right)
    space: str = ""
    unicode: bool = False  # as for pi, roots, squares, minus, unions
    bare_exponent: bool = False  # x^2, not x^{2}


def integer(number: int) -> Node:
    """The node of a whole number."""
    return Node("neg", (integer(-number),)) if number < 0 else Node("int", (), str(number))


def number_of(node: Node) -> Fraction:
    """The value of a number's leaf."""
    if node.operation == "mixed":
        whole, _, part = node.text.partition(" ")
        return int(whole) + Fraction(part)
    return Fraction(node.text)


def value(node: Node, point: Mapping[str, Any]) -> Any:
    """The value at `point`, an mpmath number. Raises ZeroDivisionError and the like where there is none."""
    if node.operation in {"int", "dec", "frac", "mixed"}:
        number = number_of(node)
        return mpmath.mpf(number.numerator) / number.denominator
    if node.operation in {"const", "var"}:
        return {"pi": +mpmath.pi, "e": +mpmath.e, "i": mpmath.mpc(0, 1), **point}[node.text]
    parts = [value(part, point) for part in node.parts]
    return _VALUES[node.operation](node.text, *parts)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "ln": mpmath.log, "exp": mpmath.exp,
}  # fmt: skip
_VALUES: dict[str, Callable[..., Any]] = {
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "div": lambda _, a, b: a / b,
    "neg": lambda _, a: -a,
    "pow": lambda text, a: mpmath.power(a, int(text)),
    "sqrt": lambda _, a: mpmath.sqrt(a),
    "fn": lambda text, a: _FUNCTIONS[text](a),
    "log": lambda text, a: mpmath.log(a) / mpmath.log(int(text)),
}


def spell(node: Node, style: Style) -> str:
    """`node` as text."""
    if node.operation in _SPELLED_WHOLE:
        return _SPELLED_WHOLE[node.operation](node, style)
    text = _spelled(node, style)[0]
    return text.replace("-", "−") if style.unicode else text  # noqa: RUF001


def _spelled(node: Node, style: Style) -> tuple[str, int]:
    """(text, how tightly it holds together)."""
    if node.operation in _LEAVES:
        return _LEAVES[node.operation](node, style)
    return _OPERATIONS[node.operation](node, style)


def _at_least(node: Node, style: Style, level: int) -> str:
    text, holds = _spelled(node, style)
    return text if holds >= level else _bracketed(text, style)


def _bracketed(text: str, style: Style) -> str:
    return f"\\left({text}\\right)" if style.big_brackets and style.latex else f"({text})"


def _fraction(top: str, bottom: str, style: Style) -> tuple[str, int]:
    if style.fraction == "/" or not style.latex:
        return f"{top}/{bottom}", PRODUCT
    return f"{style.fraction}{{{top}}}{{{bottom}}}", ATOM


def _frac_leaf(node: Node, style: Style) -> tuple[str, int]:
    top, _, bottom = node.text.partition("/")
    return _fraction(top, bottom, style)[0], PRODUCT


def _mixed_leaf(node: Node, style: Style) -> tuple[str, int]:
    whole, _, part = node.text.partition(" ")
    top, _, bottom = part.partition("/")
    text = _fraction(top, bottom, style)[0]
    return (f"{whole}{text}" if text.startswith("\\") else f"{whole} {text}"), SUM


def _const_leaf(node: Node, style: Style) -> tuple[str, int]:
    if node.text != "pi":
        return node.text, ATOM
    return ("π" if style.unicode else "\\pi " if style.latex else "pi"), ATOM


def _sum(sign: str) -> Callable[[Node, Style], tuple[str, int]]:
    def write(node: Node, style: Style) -> tuple[str, int]:
        left, right = _at_least(node.parts[0], style, SUM), _at_least(node.parts[1], style, PRODUCT)
        return f"{left}{style.space}{sign}{style.space}{right}", SUM

    return write


def _product(node: Node, style: Style) -> tuple[str, int]:
    left, right = (_at_least(part, style, PRODUCT) for part in node.parts)
    beside = _reads_beside(node)
    if style.times or not (beside or right.startswith(("(", "\\left("))):
        return f"{left}{style.times or '*'}{right}", PRODUCT
    if not beside and node.parts[0].operation != "int":
        left = _bracketed(left, style)
    return f"{left}{right}", PRODUCT


def _reads_beside(node: Node) -> bool:
    """2x, xy, 2i, 2 pi; not 2e, which could begin 2e3."""
    left, right = node.parts
    if left.operation == "int":
        return right.operation == "var" or right.text in {"i", "pi"}
    return left.operation == right.operation == "var"


def _quotient(node: Node, style: Style) -> tuple[str, int]:
    inside = ATOM if style.fraction == "/" or not style.latex else SUM
    return _fraction(*(_at_least(part, style, inside) for part in node.parts), style)


def _negative(node: Node, style: Style) -> tuple[str, int]:
    return f"-{_at_least(node.parts[0], style, PRODUCT)}", SUM


def _power(node: Node, style: Style) -> tuple[str, int]:
    (base,) = node.parts
    if base.operation == "fn" and style.latex and int(node.text) > 0:
        return f"\\{base.text}^{{{node.text}}}{_bracketed(_at_least(base.parts[0], style, SUM), style)}", PRODUCT
    text = _at_least(base, style, ATOM) if base.operation != "fn" else _bracketed(_spelled(base, style)[0], style)
    if style.unicode and node.text in _SUPERSCRIPTS:
        return f"{text}{_SUPERSCRIPTS[node.text]}", PRODUCT
    if style.bare_exponent and len(node.text) == 1:
        return f"{text}^{node.text}", PRODUCT
    return (f"{text}^{{{node.text}}}" if style.latex else f"{text}^({node.text})"), PRODUCT


def _root(node: Node, style: Style) -> tuple[str, int]:
    (base,) = node.parts
    if style.power_root:
        exponent = "{1/2}" if style.latex else "(1/2)"
        return f"{_at_least(base, style, ATOM)}^{exponent}", PRODUCT
    if style.unicode and base.operation == "int":
        return (f"√{base.text}" if len(base.text) == 1 else f"√({base.text})"), PRODUCT
    inside = _at_least(base, style, SUM)
    return (f"\\sqrt{{{inside}}}" if style.latex else f"sqrt({inside})"), ATOM


def _function(node: Node, style: Style) -> tuple[str, int]:
    name = f"\\{node.text}" if style.latex else node.text
    return f"{name}{_bracketed(_at_least(node.parts[0], style, SUM), style)}", PRODUCT


def _logarithm(node: Node, style: Style) -> tuple[str, int]:
    name = f"\\log_{{{node.text}}}" if style.latex else f"log_{node.text}"
    return f"{name}{_bracketed(_at_least(node.parts[0], style, SUM), style)}", PRODUCT


Write = Callable[[Node, Style], tuple[str, int]]
_LEAVES: dict[str, Write] = {
    "int": lambda node, _: (node.text, ATOM),
    "dec": lambda node, _: (node.text, ATOM),
    "var": lambda node, _: (node.text, ATOM),
    "const": _const_leaf,
    "frac": _frac_leaf,
    "mixed": _mixed_leaf,
}
_OPERATIONS: dict[str, Write] = {
    "add": _sum("+"),
    "sub": _sum("-"),
    "mul": _product,
    "div": _quotient,
    "neg": _negative,
    "pow": _power,
    "sqrt": _root,
    "fn": _function,
    "log": _logarithm,
}


def _joined(node: Node, style: Style, separator: str = ",") -> str:
    return f"{separator}{style.space}".join(spell(part, style) for part in node.parts)


def _between(opener: str, inside: str, closer: str, style: Style) -> str:
    if style.big_brackets and style.latex:
        opener, closer = f"\\left{opener}", f"\\right{closer}"
    return f"{opener}{inside}{closer}"


def _set(node: Node, style: Style) -> str:
    opener, closer = ("\\{", "\\}") if style.latex else ("{", "}")
    return _between(opener, _joined(node, style), closer, style)


def _interval(node: Node, style: Style) -> str:
    return _between(node.text[0], _joined(node, style), node.text[1], style)


def _union(node: Node, style: Style) -> str:
    cup = "\u222a" if style.unicode else " \\cup " if style.latex else " U "
    return cup.join(spell(part, style) for part in node.parts)


def _matrix(node: Node, style: Style) -> str:
    columns = int(node.text)
    written = [spell(part, replace(style, latex=True)) for part in node.parts]
    rows = [" & ".join(written[start : start + columns]) for start in range(0, len(written), columns)]
    return _MATRIX % " \\\\ ".join(rows)


def _relation(node: Node, style: Style, sign: str) -> str:
    left, right = (spell(part, style) for part in node.parts)
    return f"{left} {sign} {right}"


def _inequality(node: Node, style: Style) -> str:
    signs = {"<": "<", ">": ">", "\\le": "≤", "\\ge": "≥"} if style.unicode else _PLAIN_SIGNS
    return _relation(node, style, node.text if style.latex and not style.unicode else signs[node.text])


def _quantity(node: Node, style: Style) -> str:
    number = spell(node.parts[0], style)
    return f"{number}\\text{{ {node.text}}}" if style.latex else f"{number} {node.text}"


_SPELLED_WHOLE: dict[str, Callable[[Node, Style], str]] = {
    "set": _set,
    "tuple": lambda node, style: _between("(", _joined(node, style), ")", style),
    "list": _joined,
    "interval": _interval,
    "union": _union,
    "matrix": _matrix,
    "equation": lambda node, style: _relation(node, style, "="),
    "inequality": _inequality,
    "quantity": _quantity,
}
