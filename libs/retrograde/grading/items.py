"""The items of a list: in each, the words around the one stretch of mathematics go ("There are 17 eggs").

Where each item has words of its own they are names: "Tom has 6 and Kim has 18" assigns to "tom" and "kim".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrograde.grading.expression import UnreadableError
from retrograde.grading.tokens import ARTICLE, LISTS, Kind, Token

_COPULAS = frozenset({"is", "are", "equals", "be", "was", "were", "becomes"})
_FILLERS = frozenset("the a an is are has have had be of respectively and each he she it".split())  # noqa: SIM905
# Beside a value these words make another value of it; "of" must follow those of the second line.
_CHANGING = frozenset("twice thrice double triple half reciprocal factorial between".split())  # noqa: SIM905
_CHANGING_OF = frozenset(
    "square cube root roots sum difference product multiple multiples divisors factors powers third quarter"  # noqa: SIM905
    " inverse logarithm number before".split()
)
_ASSIGNING = frozenset({"=", "<", ">", "le", "ge", "in", "equiv", ","})
_ITEM_SIGNS = frozenset({",", ";"})
_TRAILING = frozenset({",", ".", ";", ":", "/", "'", '"', "?", "*", "=", "^"})
_LEADING = frozenset({",", ".", ";", ":", "'", '"', "=", "*", "?", "/", ")"})


def resolved(tokens: Sequence[Token]) -> list[Token]:
    """The mathematics of all items in one row. Raises UnreadableError where an item has two values."""
    return _joined(_labelled([_item(item) for item in _list_items(tokens)]))


def _after_copula(tokens: list[Token]) -> list[Token]:
    """What follows the last "is" or "are" after words; where nothing but words follows, all of it."""
    for index in range(len(tokens) - 1, -1, -1):
        if tokens[index].word in _COPULAS:
            after = tokens[index + 1 :]
            return after if any(token.is_value for token in after) else tokens[:index]
    return tokens


def _list_items(tokens: Sequence[Token]) -> list[list[Token]]:
    """Items between top-level list separators, each with the separator that led to it in front."""
    items: list[list[Token]] = [[]]
    depth = 0
    for index, token in enumerate(tokens):
        depth += token.step
        if token.word == "and" and _joins_quantities(tokens, index):
            continue
        if token.word in LISTS or is_by(tokens, index):
            items.append([Token(Kind.SIGN, LISTS.get(token.word, ","))])
        elif depth == 0 and token.kind is Kind.SIGN and token.text in _ITEM_SIGNS:
            items.append([token])
        else:
            items[-1].append(token)
    return items


def is_by(tokens: Sequence[Token], index: int) -> bool:
    """Whether "by" stands between two sizes: "15 m by 30 m"."""
    if tokens[index].word != "by" or not 0 < index < len(tokens) - 1:
        return False
    before, after = tokens[index - 1], tokens[index + 1]
    return after.kind is Kind.NUMBER and (before.kind in {Kind.NUMBER, Kind.UNIT, Kind.NAME})


def _joins_quantities(tokens: Sequence[Token], index: int) -> bool:
    """Whether "and" stands in one quantity: "1 hour and 15 minutes"."""
    if not 0 < index < len(tokens) - 2 or tokens[index + 1].kind is not Kind.NUMBER:
        return False
    left, right = tokens[index - 1].unit, tokens[index + 2].unit
    return left is not None and right is not None and left.dimensions == right.dimensions and left.size > right.size


def _joined(items: Sequence[Sequence[Token]]) -> list[Token]:
    """The items in one row, without those in which nothing is left, and without doubled separators."""
    joined: list[Token] = []
    for item in items:
        body = list(item)
        if body and _is_separator(body[0]) and (len(body) == 1 or not joined):
            body = body[1:]
        joined += body
    return joined


def _is_separator(token: Token) -> bool:
    return token.kind is Kind.SIGN and token.text in {",", ";", "or"}


@dataclass(frozen=True, slots=True)
class _Item:
    """An item of the list: its separator, its mathematics, and the words that came with it."""

    lead: list[Token]
    value: list[Token]
    words: str


def _item(tokens: list[Token]) -> _Item:
    """The one stretch of an item that holds a value. Raises UnreadableError where there are more."""
    lead = tokens[:1] if tokens and _is_separator(tokens[0]) else []
    body = _with_ratio(tokens[len(lead) :])
    words = " ".join(sorted(token.word for token in body if token.kind is Kind.WORD and token.word not in _FILLERS))
    told = _after_label(_after_copula(body))
    if _is_changed(told):
        raise UnreadableError("words that make another value of it")
    stretches = _stretches(told)
    if len(stretches) == 1:
        return _Item(lead, stretches[0], words)
    kept = [_trimmed(stretch) for stretch in stretches if _is_worth(stretch)]
    kept = [stretch for stretch in kept if stretch] or _formula(stretches, words)
    if len(kept) > 1:
        raise UnreadableError("more than one value among words")
    return _Item(lead, kept[0] if kept else [], words)


def _is_changed(tokens: Sequence[Token]) -> bool:
    """Whether words make something else of the value beside them: "twice 5", "the square of 5", "5 factorial"."""
    of = [token.word in _CHANGING_OF and _leads_to_value(tokens[index + 1 :]) for index, token in enumerate(tokens)]
    changes = [index for index, token in enumerate(tokens) if token.word in _CHANGING]
    return any(of) or any(_meets_number(tokens, index) for index in changes)


def _meets_number(tokens: Sequence[Token], index: int) -> bool:
    """Whether a number stands beside the word at `index`, but for "of" and "the"."""
    after = [token for token in tokens[index + 1 : index + 3] if token.word not in {"of", "the"}][:1]
    return any(token.kind is Kind.NUMBER for token in (*tokens[max(0, index - 1) : index], *after))


def _leads_to_value(tokens: Sequence[Token]) -> bool:
    """Whether these are "of" and a value: "of 5", "of the 5"."""
    value = tokens[1:] if [token.word for token in tokens[1:2]] != ["the"] else tokens[2:]
    return [token.word for token in tokens[:1]] == ["of"] and any(map(counts, value[:1]))


def _formula(stretches: Sequence[list[Token]], words: str) -> list[list[Token]]:
    """Letters alone among words: "k terms", "of the form ax"."""
    told = [stretch for stretch in stretches if stretch]
    is_formula = len(told) == 1 and (" form" in f" {words}" or (bool(stretches[0]) and told[0] != [ARTICLE]))
    return told if is_formula and told[0][0].text.islower() else []


def _with_ratio(tokens: Sequence[Token]) -> list[Token]:
    """`3 to 4` as `3:4`."""
    return [
        Token(Kind.SIGN, ":")
        if token.word == "to"
        and 0 < index < len(tokens) - 1
        and tokens[index - 1].kind is tokens[index + 1].kind is Kind.NUMBER
        else token
        for index, token in enumerate(tokens)
    ]


def _after_label(tokens: list[Token]) -> list[Token]:
    """What follows "maximum:" and the like."""
    colons = [index for index, token in enumerate(tokens) if token.kind is Kind.SIGN and token.text == ":"]
    if colons == [1] and tokens[0].kind is Kind.NAME:
        return [tokens[0], Token(Kind.SIGN, "="), *tokens[2:]]
    if colons and all(token.kind in {Kind.WORD, Kind.NAME, Kind.FUNCTION} for token in tokens[: colons[0]]):
        return tokens[colons[0] + 1 :]
    return tokens


def _labelled(items: Sequence[_Item]) -> list[list[Token]]:
    """The items' tokens; where each has words of its own, as assignments to them ("Tom has 6 and Kim 18")."""
    full = [item for item in items if item.value]
    names = {item.words for item in full}
    is_plain = not any(token.text in _ASSIGNING for item in full for token in item.value)
    if len(full) > 1 and "" not in names and len(names) == len(full) and is_plain:
        sign = Token(Kind.SIGN, "=")
        return [[*item.lead, Token(Kind.NAME, f"~{item.words}"), sign, *item.value] for item in full]
    return [[*item.lead, *item.value] for item in items]


def _is_worth(stretch: Sequence[Token]) -> bool:
    """Whether a stretch among words is a value: a number, a formula, or what "=" leads to; one letter may be a word."""
    return any(map(counts, stretch)) or (len(stretch) > 1 and stretch[0].text == "=")


def counts(token: Token) -> bool:
    """Whether a stretch among words is a value because of this token: a lone letter may be a word."""
    return token.kind in {Kind.NUMBER, Kind.COMMAND} or (token.kind is Kind.NAME and len(token.text) > 1)


def _stretches(tokens: Sequence[Token]) -> list[list[Token]]:
    """The runs between words, without what the words carried (the "^2" of an unknown unit)."""
    stretches: list[list[Token]] = [[]]
    after_word = False
    for index, token in enumerate(tokens):
        if token.kind is Kind.WORD:
            stretches.append([])
            after_word = True
        elif not (after_word and _belongs_to_word(tokens, index)):
            stretches[-1].append(token)
            after_word = False
    return stretches


def _belongs_to_word(tokens: Sequence[Token], index: int) -> bool:
    token, before = tokens[index], tokens[index - 1]
    return (
        token.text in {"^", ".", "'", '"', ":", ";", "!", "?", ","}
        or before.text == "^"
        or (token.text == "/" and before.kind is Kind.WORD)
        or (token.text == "-" and any(follower.kind is Kind.WORD for follower in tokens[index + 1 : index + 2]))
    )


def _trimmed(stretch: list[Token]) -> list[Token]:
    """Without punctuation, and the slash of a unit, at either end."""
    while stretch and stretch[-1].text in _TRAILING:
        stretch = stretch[:-1]
    while stretch and stretch[0].text in _LEADING:
        stretch = stretch[1:]
    return stretch
