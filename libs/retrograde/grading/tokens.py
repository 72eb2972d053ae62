r"""Characters to tokens: numbers, names, words, commands, signs.

A run of letters is a name of a function or constant, a single variable, a product of two variables ("xy"), or a word
("eggs"): words are what units and prose are made of, and the parser decides what is dropped.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from retrograde.grading.expression import CostError, UnreadableError

MAX_CHARS = 4_000
MAX_DIGITS = 1_000
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp sqrt abs".split()  # noqa: SIM905
)
_NAMES = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo"}
_SHORT_WORDS = frozenset(
    "is in of or to by at it he we so an as no on my if be up us "  # noqa: SIM905
    "cm mm km kg mg ml cl dl ft yd lb oz mi hr pm am th st nd rd".split()
)
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+(?:\.\d+)?|\.\d+)(?P<exponent>[eE][+-]?\d{1,4}(?![\w.]))?"
    r"|\\(?P<command>[A-Za-z]+|[{}])|(?P<letters>[A-Za-z]+)|(?P<sign>[-+*/^_=<>(){}\[\]|!,%;:'\"?.])"
)
_LONGEST_VARIABLE_PRODUCT = 2


class Kind(enum.Enum):
    """What a token is."""

    NUMBER = "number"
    NAME = "name"  # a variable or constant
    FUNCTION = "function"
    WORD = "word"
    COMMAND = "command"  # \frac and its like
    SIGN = "sign"


@dataclass(frozen=True, slots=True)
class Token:
    """A token; `text` of a number is its digits, point and exponent."""

    kind: Kind
    text: str


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`. Raises CostError if it is too long, UnreadableError on a character of no meaning here."""
    if len(text) > MAX_CHARS:
        raise CostError(f"answer of {len(text)} characters; at most {MAX_CHARS} are read")
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnreadableError(f"character {text[position]!r}")
        tokens.extend(_tokens_of(match))
        position = match.end()
    return tokens


def _tokens_of(match: re.Match[str]) -> list[Token]:
    if number := match["number"]:
        if len(number) > MAX_DIGITS:
            raise CostError(f"number of {len(number)} digits; at most {MAX_DIGITS} are read")
        return [Token(Kind.NUMBER, number + (match["exponent"] or ""))]
    if command := match["command"]:
        return [_command(command)]
    if letters := match["letters"]:
        return _letters(letters)
    return [Token(Kind.SIGN, match["sign"])] if match["sign"] else []


def _command(command: str) -> Token:
    if command in _NAMES:
        return Token(Kind.NAME, _NAMES[command])
    if command in FUNCTIONS and command != "sqrt":
        return Token(Kind.FUNCTION, command)
    if command in {"{", "}"}:
        return Token(Kind.SIGN, f"\\{command}")
    return Token(Kind.COMMAND, command)


def _letters(letters: str) -> list[Token]:
    lower = letters.lower()
    if lower in _NAMES:
        return [Token(Kind.NAME, _NAMES[lower])]
    if lower == "sqrt":
        return [Token(Kind.COMMAND, "sqrt")]
    if lower in FUNCTIONS:
        return [Token(Kind.FUNCTION, lower)]
    if len(letters) > _LONGEST_VARIABLE_PRODUCT or lower in _SHORT_WORDS:
        return [Token(Kind.WORD, lower)]
    return [Token(Kind.NAME, letter) for letter in letters]
