"""Exact arithmetic on text, by our own parser: `3*7+7` is read, never evaluated as code.

Grammar: sum := product (("+" | "-") product)*; product := atom (("*" | "/") atom)*; atom := number | "(" sum ")".
Division is exact (rational). Length, digits and nesting are bounded, so that any input ends at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

_MAX_LENGTH = 400
_MAX_DEPTH = 40
_TOKEN = re.compile(r"\s*(?:(\d{1,9}(?!\d))|([-+*/()]))")


class ExpressionError(ValueError):
    """The text is no expression of this grammar, or it divides by zero."""


@dataclass(slots=True)
class Expression:
    """An expression's exact value and the numbers it uses, in order."""

    value: Fraction
    numbers: list[int]


@dataclass(slots=True)
class _Parser:
    tokens: list[str]
    position: int = 0
    depth: int = 0
    numbers: list[int] = field(default_factory=list)

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def sum(self) -> Fraction:
        value = self.product()
        while self.peek() in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self) -> Fraction:
        value = self.atom()
        while self.peek() in ("*", "/"):
            value = value * self.atom() if self.take() == "*" else _divide(value, self.atom())
        return value

    def atom(self) -> Fraction:
        symbol = self.take()
        if symbol.isdigit():
            self.numbers.append(int(symbol))
            return Fraction(int(symbol))
        if symbol != "(":
            raise ExpressionError(f"a number or '(' was expected, not {symbol or 'the end'!r}")
        return self.bracketed()

    def bracketed(self) -> Fraction:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ExpressionError(f"more than {_MAX_DEPTH} nested brackets")
        value = self.sum()
        self.depth -= 1
        if self.take() != ")":
            raise ExpressionError("a ')' is missing")
        return value


def parse_expression(text: str) -> Expression:
    """The value of `text`. Raises ExpressionError."""
    parser = _Parser(_tokens(text))
    value = parser.sum()
    if parser.peek():
        raise ExpressionError(f"{parser.peek()!r} was not expected")
    return Expression(value, parser.numbers)


def _tokens(text: str) -> list[str]:
    if len(text) > _MAX_LENGTH:
        raise ExpressionError(f"longer than {_MAX_LENGTH} characters")
    text, position, tokens = text.strip(), 0, []
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"{text[position : position + 20]!r} is not arithmetic")
        tokens.append(match.group(1) or match.group(2))
        position = match.end()
    return tokens


def _divide(dividend: Fraction, divisor: Fraction) -> Fraction:
    if divisor == 0:
        raise ExpressionError("division by zero")
    return dividend / divisor
