"""Words that stand for mathematics: numbers, signs, powers of ten, sets by condition, subscripts, cases."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from retrograde.grading.expression import UnreadableError
from retrograde.grading.numerals import ordinal, words_to_number
from retrograde.grading.tokens import ARTICLE, REFUTED, SCALES, Kind, Token

_WORD_SIGNS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("per", "cent"): ("%",), ("percent",): ("%",), ("percentage", "points"): ("%",), ("pct",): ("%",),
    ("plus", "or", "minus"): ("pm",), ("times",): ("*",), ("plus",): ("+",), ("minus",): ("-",), ("negative",): ("-",),
    ("divided", "by"): ("/",), ("over",): ("/",), ("out", "of"): ("/",), ("equals",): ("=",), ("equal", "to"): ("=",),
    ("squared",): ("^", "2"), ("cubed",): ("^", "3"),
    ("degrees",): ("degree",), ("degree",): ("degree",), ("deg",): ("degree",),
    ("at", "least"): ("ge",), ("no", "less", "than"): ("ge",), ("no", "fewer", "than"): ("ge",),
    ("greater", "than", "or", "equal", "to"): ("ge",), ("less", "than", "or", "equal", "to"): ("le",),
    ("at", "most"): ("le",), ("no", "more", "than"): ("le",), ("not", "more", "than"): ("le",),
    ("not", "less", "than"): ("ge",), ("up", "to"): ("le",),
    ("more", "than"): (">",), ("greater", "than"): (">",), ("larger", "than"): (">",), ("less", "than"): ("<",),
    ("fewer", "than"): ("<",), ("smaller", "than"): ("<",),
    ("approximately",): ("approx",), ("about",): ("approx",), ("roughly",): ("approx",), ("around",): ("approx",),
    ("simplifies", "to"): ("=",), ("evaluates", "to"): ("=",), ("reduces", "to"): ("=",), ("comes", "to"): ("=",),
    ("amounts", "to"): ("=",), ("exactly",): (),
}  # fmt: skip
_COMMANDS = frozenset({"ge", "le", "pm", "degree", "approx"})
_CONCLUDING = frozenset({"so", "thus", "hence", "therefore"})
_REMAINDERS = {"even": "0", "odd": "1"}
_PRONOUNS = frozenset({"", "one", "a", "an"})
_LONGEST_NUMERAL = 9
_LONGEST_SIGN = max(map(len, _WORD_SIGNS))


def reworded(tokens: Sequence[Token]) -> tuple[list[Token], list[Token]]:
    """The tokens with such words replaced, and the condition of a set, if they are one."""
    whole = _with_subscripts(_without_case_words(tokens))
    body, condition = _built_set(_concluded(_with_numbers(whole)))
    return with_signs(body), condition


def _without_case_words(tokens: Sequence[Token]) -> list[Token]:
    """Words in the rows of cases: "if" goes, "otherwise" and "even" are conditions."""
    kept: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text == "opencases") - (token.text == "closecases")
        if not depth or token.kind is not Kind.WORD:
            kept.append(token)
        elif token.word in REFUTED:
            kept.append(Token(Kind.NAME, "\\else"))
        elif token.word in _REMAINDERS:
            kept += [Token(Kind.COMMAND, "equiv"), _sign_token(_REMAINDERS[token.word])]
            kept += [Token(Kind.COMMAND, "pmod"), _sign_token("2")]
    return kept


def _with_subscripts(tokens: Sequence[Token]) -> list[Token]:
    r"""`k_{\max}` as one name."""
    kept: list[Token] = []
    index = 0
    while index < len(tokens):
        end = _subscript_end(tokens, index + 1) if tokens[index].kind is Kind.NAME else index + 1
        if end > index + 1:
            subscript = "".join(token.text for token in tokens[index + 2 : end]).strip("{}")
            kept.append(Token(Kind.NAME, f"{tokens[index].text}_{subscript}"))
        else:
            kept.append(tokens[index])
        index = end
    return kept


def _subscript_end(tokens: Sequence[Token], index: int) -> int:
    """Where the subscript at `index` ends; `index` if none begins there."""
    if index + 1 >= len(tokens) or tokens[index].text != "_":
        return index
    if tokens[index + 1].text != "{":
        return index + 2
    depth = 0
    for end in range(index + 1, len(tokens)):
        depth += (tokens[end].text == "{") - (tokens[end].text == "}")
        if not depth:
            return end + 1
    raise UnreadableError("a subscript that does not end")


def _concluded(tokens: list[Token]) -> list[Token]:
    """What follows the last "so" or "therefore", where that has a value."""
    for index in range(len(tokens) - 1, 0, -1):
        if tokens[index].word in _CONCLUDING and any(token.is_value for token in tokens[index:]):
            return tokens[index + 1 :]
    return tokens


def _with_numbers(tokens: list[Token]) -> list[Token]:
    """The one number in words as a number, where no digits are told: "twenty-one", "one half"."""
    if any(token.is_mathematics and token != ARTICLE for token in tokens):
        return tokens
    for start, first in enumerate(tokens):
        for end in range(min(len(tokens), start + _LONGEST_NUMERAL), start, -1):
            value = _told_number(tokens[start:end], len(tokens)) if _may_begin(first) else None
            if value is not None:
                digits = [Token(Kind.NUMBER, str(value.numerator))]
                if value.denominator > 1:
                    digits += [Token(Kind.SIGN, "/"), Token(Kind.NUMBER, str(value.denominator))]
                if any(words_to_number(token.word) for token in tokens[end:] if token.word not in _PRONOUNS):
                    raise UnreadableError("more than one number in words")
                return tokens[:start] + digits + tokens[end:]
    return tokens


def _told_number(tokens: Sequence[Token], num_told: int) -> Fraction | None:
    """The number these words are; an ordinal only if it is all that is told."""
    if len(tokens) < num_told and any(ordinal(token.word) is not None for token in tokens):
        return None
    return words_to_number(" ".join(token.text for token in tokens))


def _may_begin(token: Token) -> bool:
    return token.kind is Kind.WORD or token == ARTICLE


def _built_set(tokens: list[Token]) -> tuple[list[Token], list[Token]]:
    r"""`\{ body | condition \}`, also after "x \in", as its body and condition; a set of x as the condition on x."""
    starts = [index for index, token in enumerate(tokens) if token.text == "\\{"]
    bars = [index for index, token in enumerate(tokens) if token.kind is Kind.SIGN and token.text in {"|", ":"}]
    if len(starts) != 1 or tokens[-1].text != "\\}" or len(bars) != 1 or bars[0] < starts[0]:
        return tokens, []
    body, condition = tokens[starts[0] + 1 : bars[0]], tokens[bars[0] + 1 : -1]
    is_letter = body and body[0].kind is Kind.NAME and (len(body) == 1 or (len(body) > 1 and body[1].text == "in"))
    return (condition, body) if is_letter else (body, condition)


def with_signs(tokens: Sequence[Token]) -> list[Token]:
    """Words that stand for signs and powers of ten, replaced."""
    kept: list[Token] = []
    index = 0
    while index < len(tokens):
        length, signs = _sign_words(tokens, index)
        is_between = signs[:1] not in {("*",), ("/",), ("+",)} or _begins_value(
            tokens[index + length : index + length + 1]
        )
        if length and is_between:
            kept += [_sign_token(sign) for sign in signs]
        elif tokens[index].word in SCALES and kept and kept[-1].kind is Kind.NUMBER:
            kept += [Token(Kind.SIGN, "*"), Token(Kind.NUMBER, SCALES[tokens[index].word])]
            length = 1
        else:
            kept.append(tokens[index])
            length = 1
        index += length
    return kept


def _begins_value(tokens: Sequence[Token]) -> bool:
    return any(token.kind in {Kind.NUMBER, Kind.NAME, Kind.COMMAND} or token.text in {"(", "-"} for token in tokens)


def _sign_words(tokens: Sequence[Token], index: int) -> tuple[int, tuple[str, ...]]:
    if tokens[index].kind is not Kind.WORD:
        return 0, ()
    for length in range(_LONGEST_SIGN, 0, -1):
        words = tuple(token.word for token in tokens[index : index + length])
        if len(words) == length and words in _WORD_SIGNS:
            return length, _WORD_SIGNS[words]
    return 0, ()


def _sign_token(sign: str) -> Token:
    if sign.isdigit():
        return Token(Kind.NUMBER, sign)
    return Token(Kind.COMMAND if sign in _COMMANDS else Kind.SIGN, sign)
