r"""Characters to tokens: numbers, names, functions, words, commands, signs.

A run of letters is a name of a function or constant, a variable, a product of two or three variables ("xy"), or a word
("eggs"). Words are what units and prose are made of; phrases.py decides what becomes of them.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from retrograde.grading.expression import CostError, UnreadableError
from retrograde.grading.units import Unit, unit_called

MAX_CHARS = 4_000
MAX_DIGITS = 1_000
FUNCTIONS = frozenset(
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth log ln lg exp abs "  # noqa: SIM905
    "lim inf sup deg dim rank tr max min gcd lcm floor ceil sgn cis det asin acos atan Re Im".split()
)
_PROSE = frozenset({"lim", "inf", "sup", "deg", "dim", "rank", "tr"})  # functions only as commands
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "ctg": "cot", "tg": "tan", "cosec": "csc",
            "arctg": "arctan", "csch": "csch", "hcf": "gcd"}  # fmt: skip
NAMES = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "oo": "oo"}
_DOMAINS = frozenset({"R", "Z", "N", "W", "Q", "C", "uniti", "unitj", "unitk"})
GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta kappa lambda mu nu xi rho sigma tau phi varphi "  # noqa: SIM905
    "chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega ell".split()
)
_SHORT_WORDS = frozenset(
    "is in of or to by at it he we so an as no on my if be up us pm am pp sq cu".split()  # noqa: SIM905
)
_ORDINALS = frozenset({"th", "st", "nd", "rd"})
_AFTER_GROUPS = frozenset("kg km cm mm ml mL kW kJ Hz".split())  # noqa: SIM905 - units, and no product in any formula
_SENTENCE_STARTS = frozenset("Is In If It We So As No At By To On Of He".split())  # noqa: SIM905
_BEFORE_UNITS = frozenset({"square", "cubic", "sq", "cu", "per"})
_PRODUCTS = frozenset("abc xyz abcd pqr rst uvw xyzw bcd def mnp mnk abx axy bxy".split())  # noqa: SIM905
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+(?:\.\d+)?(?!\.?\d)|\.\d+|\d+\.?)(?P<exponent>[eE][+-]?\d{1,4}(?![\w.]))?"
    r"|\\text\s*\{(?P<text>[^{}]*)\}|\\(?P<command>[A-Za-z]+|[{}\\|])|(?P<letters>[A-Za-zÀ-ÿΩ¢]+)"
    r"|(?P<sign>[-+*/^_=<>(){}\[\]|!,%;:'\"?.&#])"
)
_IN_TEXT = re.compile(r"(?P<number>\d+(?:\.\d+)?)|(?P<letters>°?[A-Za-zÀ-ÿΩ¢μ]+)|(?P<sign>[-+*/^=<>(){}_,:;!%.'])")
_LONGEST_VARIABLE_PRODUCT = 2


LISTS = {"and": ",", "or": "or"}  # words that separate items, and the signs they are
REFUTED = frozenset("else otherwise wrong incorrect false isn't".split())  # noqa: SIM905
SCALES = {
    "hundred": "100", "thousand": "1000", "million": "1000000", "billion": "1000000000", "trillion": "1000000000000",
    "dozen": "12",
}  # fmt: skip
_OPENERS = frozenset({"(", "{", "[", "\\{", "opencases", "openmatrix", "opendeterminant", "langle"})
_CLOSERS = frozenset({")", "}", "]", "\\}", "closecases", "closematrix", "rangle"})


class Kind(enum.Enum):
    """What a token is."""

    NUMBER = "number"
    NAME = "name"  # a variable or constant
    FUNCTION = "function"
    WORD = "word"
    UNIT = "unit"
    COMMAND = "command"  # \frac and its like
    SIGN = "sign"


@dataclass(frozen=True, slots=True)
class Token:
    """A token; `text` of a number is its digits, point and exponent, of a word its letters as written."""

    kind: Kind
    text: str
    unit: Unit | None = None

    @property
    def is_mathematics(self) -> bool:
        """Whether it may be a part of a formula only."""
        return self.kind in {Kind.NUMBER, Kind.NAME, Kind.COMMAND, Kind.FUNCTION}

    @property
    def is_value(self) -> bool:
        """Whether a value may be made of it."""
        return self.kind in {Kind.NUMBER, Kind.NAME, Kind.COMMAND}

    @property
    def is_prose(self) -> bool:
        """Whether it is a word of prose, not of a list or a unit's abbreviation."""
        return len(self.word) > 2 and self.word not in LISTS and self.word not in SCALES  # noqa: PLR2004 - "cm"

    @property
    def step(self) -> int:
        """How much deeper into brackets it leads."""
        return (self.text in _OPENERS) - (self.text in _CLOSERS)

    @property
    def word(self) -> str:
        """The word in lower case; "" for other tokens."""
        return self.text.lower() if self.kind is Kind.WORD else ""


ARTICLE = Token(Kind.NAME, "a")


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
        tokens.extend(_tokens_of(match, tokens[-1] if tokens else None))
        position = match.end()
    return tokens


def _tokens_of(match: re.Match[str], before: Token | None) -> list[Token]:
    if number := match["number"]:
        return [_number(number, match["exponent"])]
    if match["text"] is not None:
        return _words(match["text"])
    if command := match["command"]:
        return [_command(command)]
    if letters := match["letters"]:
        return _letters(letters, before)
    return [Token(Kind.SIGN, match["sign"])] if match["sign"] else []


def _number(digits: str, exponent: str | None) -> Token:
    if len(digits) > MAX_DIGITS:
        raise CostError(f"number of {len(digits)} digits; at most {MAX_DIGITS} are read")
    return Token(Kind.NUMBER, digits.rstrip(".") + (exponent or ""))


def _words(text: str) -> list[Token]:
    r"""What stands in \text{}: words, whatever their length, numbers and signs."""
    tokens = []
    for match in _IN_TEXT.finditer(text):
        if match["number"]:
            tokens.append(_number(match["number"], None))
        elif letters := match["letters"]:
            tokens.append(_named(letters) or Token(Kind.WORD, letters))
        else:
            tokens.append(Token(Kind.SIGN, match["sign"]))
    return tokens


def _command(command: str) -> Token:
    if command in {"pi", "infty"}:
        return Token(Kind.NAME, NAMES[command])
    if command in _DOMAINS:
        return Token(Kind.NAME, f"\\{command}")
    if command in GREEK:
        return Token(Kind.NAME, command.removeprefix("var"))
    if command in _ALIASES or command in FUNCTIONS:
        return Token(Kind.FUNCTION, _ALIASES.get(command, command))
    if command in {"{", "}", "\\"}:
        return Token(Kind.SIGN, f"\\{command}")
    return Token(Kind.COMMAND, command)


def _named(letters: str) -> Token | None:
    lower = letters.lower()
    if lower in NAMES:
        return Token(Kind.NAME, NAMES[lower])
    if lower == "sqrt":
        return Token(Kind.COMMAND, "sqrt")
    known = _ALIASES.get(lower, lower)
    return Token(Kind.FUNCTION, known) if known in FUNCTIONS - _PROSE else None


def _letters(letters: str, before: Token | None) -> list[Token]:
    if named := _named(letters):
        return [named]
    if before is not None and len(letters) > 1 and _is_unit(letters, before):
        return [Token(Kind.WORD, letters)]
    if letters in _SHORT_WORDS or letters in _SENTENCE_STARTS:
        return [Token(Kind.WORD, letters)]
    if len(letters) <= _LONGEST_VARIABLE_PRODUCT or letters in _PRODUCTS:
        return [Token(Kind.NAME, letter) for letter in letters]
    if letters in GREEK:
        return [Token(Kind.NAME, letters)]
    return _function_beside(letters) or [Token(Kind.WORD, letters)]


def _is_unit(letters: str, before: Token) -> bool:
    """Whether letters after this token are a unit, or the end of an ordinal."""
    if before.kind is Kind.NUMBER or before.word in _BEFORE_UNITS:
        return letters in _ORDINALS or unit_called(letters) is not None
    return before.text in {"}", ")"} and letters in _AFTER_GROUPS


def _function_beside(letters: str) -> list[Token] | None:
    """`sinx` and `lnx` as a function and its variable."""
    function, variable = letters[:-1], letters[-1]
    if function in FUNCTIONS and variable in "xytnabkAB":
        return [Token(Kind.FUNCTION, function), Token(Kind.NAME, variable)]
    return None
