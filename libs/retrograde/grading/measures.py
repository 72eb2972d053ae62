r"""Tokens of a unit to one token: "km/h", "\text{m} / \text{s}^2", "square feet", "kg*m^{-3}", "dollars per hour"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from retrograde.grading.tokens import Kind, Token
from retrograde.grading.units import MAX_POWER, MONEY, NO_UNIT, POWERS, SQUARES, UNITS, Unit, unit_called

_MINUTE = Token(Kind.FUNCTION, "min")
_VALUE_ENDS = frozenset({")", "}", "]", "!"})


def with_units(tokens: Sequence[Token]) -> list[Token]:
    """Each unit that stands after a value as one token of kind UNIT; other words stay."""
    kept: list[Token] = []
    index = 0
    while index < len(tokens):
        unit, end = _read(tokens, index) if kept and _ends_value(kept[-1]) else (None, index)
        if unit is None:
            kept.append(tokens[index])
            index += 1
        else:
            kept.append(Token(Kind.UNIT, "", unit))
            index = end
    return kept


def _ends_value(token: Token) -> bool:
    return (
        token.kind is Kind.NUMBER
        or (token.kind is Kind.SIGN and token.text in _VALUE_ENDS)
        or (token.kind is Kind.NAME and token.text in {"pi", "oo"})
    )


def _read(tokens: Sequence[Token], start: int) -> tuple[Unit | None, int]:
    """The unit that begins at `start` and where it ends; (None, start) if none does."""
    found = _factor(tokens, start)
    if found is None:
        return None, start
    unit, index = found
    while True:
        sign, beyond = _link(tokens, index)
        factor = _factor(tokens, beyond)
        if factor is None:
            return unit, index
        unit, index = unit.times(factor[0], sign), factor[1]


def _link(tokens: Sequence[Token], index: int) -> tuple[int, int]:
    """(1 for a product, -1 for a quotient; where the next factor begins)."""
    if index < len(tokens):
        token = tokens[index]
        if token.text == "/" or token.word in {"per", "a", "an"}:
            return -1, index + 1
        if token.text == "*" or (token.text == "-" and token.kind is Kind.SIGN):
            return 1, index + 1
    return 1, index


def _factor(tokens: Sequence[Token], index: int) -> tuple[Unit, int] | None:
    """One named unit with its power."""
    if index >= len(tokens):
        return None
    token = tokens[index]
    before = SQUARES.get(token.word, 0) if token.kind is Kind.WORD else 0
    if before:
        index += 1
    if index >= len(tokens):
        return None
    unit, index = _named(tokens, index)
    if unit is None:
        return None
    power, index = _power(tokens, index)
    return NO_UNIT.times(unit, before or power), index


def _named(tokens: Sequence[Token], index: int) -> tuple[Unit | None, int]:
    token = tokens[index]
    if token.kind is Kind.WORD or token == _MINUTE:
        unit = unit_called(token.text)
        return unit and NO_UNIT.times(replace(unit, is_sure=True), 1), index + 1
    if token.kind is Kind.COMMAND and token.text in MONEY:
        return UNITS[MONEY[token.text]], index + 1
    return (unit_called(token.text) if token.kind is Kind.NAME else None), index + 1


def _power(tokens: Sequence[Token], index: int) -> tuple[int, int]:
    """The exponent after a unit, 1 if there is none, and where it ends."""
    if index < len(tokens) and tokens[index].word in POWERS:
        return POWERS[tokens[index].word], index + 1
    texts = [token.text for token in tokens[index : index + 5]]
    if texts[:1] != ["^"]:
        return 1, index
    inner = texts[2:-1] if texts[1:2] == ["{"] and "}" in texts else texts[1:3]
    braced = texts[1:2] == ["{"]
    digits = texts[2 : texts.index("}")] if braced and "}" in texts else inner[: 2 if inner[:1] == ["-"] else 1]
    sign = -1 if digits[:1] == ["-"] else 1
    if not digits or not digits[-1].isdigit() or int(digits[-1]) > MAX_POWER:
        return 1, index
    return sign * int(digits[-1]), index + 1 + len(digits) + 2 * braced
