r"""Answers in words: do two of them say the same?

    same_words(told, asked) -> True | False, or None where either is no words

    1. plain text: \text{} unwrapped, marks and remarks in parentheses taken away, one spelling
    2. classes of meaning (meanings.py): yes, no, none, undefined, infinite, all reals, ...
    3. content words: the same ones, in any order where order says nothing; a sentence may say a little more

Precision comes before recall: what is not surely the same is not the same.
"""

from __future__ import annotations

import re

from retrograde.grading.meanings import meanings
from retrograde.grading.numerals import ordinal, words_to_number
from retrograde.grading.spelling import one_spelling, plain_words

__all__ = ["same_words", "words_to_number"]

_MAX_CHARS = 2_000
_MATHS = frozenset(
    "sin cos tan cot sec csc log ln exp max min gcd lcm mod det deg rad lim arcsin arccos arctan pi theta alpha beta"  # noqa: SIM905
    " gamma phi sqrt frac cm km mm kg mg ml ft in lb oz hr hrs min mins sec secs mph kph usd rs".split()
)
_SHORT = frozenset(
    "yes no odd even none both red blue green all one any zero man boy girl dog cat day sun up down left right"  # noqa: SIM905
    " rational prime".split()
)
_ARTICLES = frozenset({"the", "a", "an"})
_STOP = _ARTICLES | frozenset(
    "is are was were be been it its it's this that these those there of so therefore thus hence answer exactly then"  # noqa: SIM905
    " will always".split()
)
_NEGATIONS = frozenset(
    "not no never neither nor cannot without none nobody isn't aren't doesn't don't can't won't wasn't didn't false"  # noqa: SIM905
    " incorrect wrong fails lose loses losing loser opposite contrary".split()
)
_DOUBT = frozenset(
    "or either maybe might could may possibly perhaps probably if unless except but rather instead than likely unknown"  # noqa: SIM905
    " depends sometimes unclear".split()
)
_ORDERED = frozenset(
    "from to before after than over under above below by beats into toward between precedes follows".split()  # noqa: SIM905
)
_SPARE = frozenset(
    "win wins won winner winning strategy player person team guaranteed must can has have correct number"  # noqa: SIM905
    " function integer triangle day o'clock who which game and shape figure"
    " on fall falls occurs quadrilateral curve".split()
)
_PLAYER = re.compile(r"\b(?:first|second|third|1st|2nd|3rd) (?=player\b|person\b|team\b)", re.IGNORECASE)
_IS_RIGHT = re.compile(r"(?<=\w) (?:is|was) (?:right|correct)\Z")
_SUBJECT = re.compile(
    r"\A(?:the|this|that|it|its|these|our|he|she|they|[a-z])\b(?:(?! is | are | was | were ).){0,200}?"
    r" (?:is|are|was|were) (?P<told>.+)\Z",
    re.IGNORECASE | re.DOTALL,
)


def same_words(told: str, asked: str) -> bool | None:
    """Whether two answers in words mean the same; None where either is no words but numbers and signs."""
    if max(len(told), len(asked)) > _MAX_CHARS:
        return None
    told_meanings, asked_meanings = meanings(told), meanings(asked)
    if told_meanings and asked_meanings and _spoken(told, asked):
        return bool(told_meanings & asked_meanings)
    told_plain, asked_plain = plain_words(told), plain_words(asked)
    if told_plain is None or asked_plain is None:
        return None
    if not (asked_meanings or _are_words(asked_plain)) or not (told_meanings or _are_words(told_plain)):
        return None
    if asked_meanings or (told_meanings and not _same_content(told_plain, asked_plain)):
        return _contains(told_plain, asked_plain) if asked_plain.lower() in {"neither", "both"} else False
    return _same_content(told_plain, asked_plain) or _contains(told_plain, asked_plain)


def _spoken(told: str, asked: str) -> bool:
    r"""Whether one of two answers with a class is spoken: "\infty" and "\mathbb{R}" alone are mathematics."""
    return any(
        re.search(r"(?<![\\A-Za-z])[A-Za-z]{2}", re.sub(r"\\math\w+\s*\{?\s*\w\}?", "", text)) for text in (told, asked)
    )


def _are_words(plain: str) -> bool:
    """Whether the text is words: it begins with no number and holds a word that is no unit and no function."""
    words = plain.split()
    if not words or (words[0][0].isdigit() and ordinal(words[0].lower()) is None) or _counts(words):
        return False
    return any(_is_word(word) for word in words)


def _counts(words: list[str]) -> bool:
    """Whether a number in words stands first, as in "twelve eggs"."""
    first = words[0].lower()
    return ordinal(first) is None and words_to_number(first) is not None


def _is_word(word: str) -> bool:
    lower = word.lower()
    if lower in _MATHS or words_to_number(lower) is not None or not re.fullmatch(r"[^\W\d_]+(?:['-][^\W\d_]+)*", word):
        return ordinal(lower) is not None
    return len(word) > 3 or lower in _SHORT or (len(word) == 3 and word[0].isupper() and word[1:].islower())  # noqa: PLR2004


def _same_content(told: str, asked: str) -> bool:
    """Whether two plain texts, or one and what the other says of its subject, have the same content words."""
    told_items, asked_items = _items(told), _items(asked)
    return [] != asked_items in (told_items, _items(_predicate(told))) or [] != told_items == _items(_predicate(asked))


def _predicate(plain: str) -> str:
    """What a sentence says of its subject ("The triangle is isosceles"); any other text as it is."""
    match = _SUBJECT.match(plain)
    return plain if not match or _is_doubtful(plain[: match.start("told")]) else match["told"]


def _items(plain: str) -> list[tuple[str, ...]]:
    """The content words, by item of a list: an "and" list and words whose order says nothing are sorted."""
    if not re.search(r"\band\b|&", plain):
        return [_content(part) for part in plain.split(",") if _content(part)]
    return sorted(_content(part) for part in re.split(r",|&|\band\b", plain) if _content(part))


def _content(plain: str) -> tuple[str, ...]:
    """The content words; before the same last word ("right isosceles triangle") their order says nothing."""
    words = _content_words(plain)
    if _ORDERED & set(words) or len(words) > 4:  # noqa: PLR2004 - adjectives and their noun
        return tuple(words)
    return (*sorted(words[:-1]), *words[-1:])


def _content_words(plain: str) -> list[str]:
    words = [word for word in re.findall(r"[\w'./-]+", plain) if word not in {"-", "'"}]
    if len(words) > 2 and words[0].lower() == "the" and words[-1] == "one":  # noqa: PLR2004 - "the blue one"
        words = words[:-1]
    if words[0:1] == ["A"] and words[1:2] and words[1].islower():
        words = words[1:]  # an article; any other "A" is a name
    return [one_spelling(word) for word in words if word == "A" or word.lower() not in _STOP]


def _is_doubtful(plain: str) -> bool:
    words = set(re.findall(r"[\w']+", plain.lower()))
    return bool(words & (_NEGATIONS | _DOUBT)) or any(word.endswith("n't") for word in words)


def _contains(told: str, asked: str) -> bool:
    """Whether one says the other and nothing that could change it: "The first player, Alice, wins" and "Alice"."""
    told, asked = _IS_RIGHT.sub("", told), _IS_RIGHT.sub("", asked)
    longer, shorter = sorted((told, asked), key=len, reverse=True)
    said, sought = _content_words(_PLAYER.sub("", longer)), _content_words(shorter)
    if "player" in sought or "person" in sought:
        said = _content_words(longer)
    extra = _without(said, sought)
    if not sought or extra is None or not any(map(_is_word, shorter.split())):
        return False
    return (
        not _is_doubtful(" ".join(extra))
        and set(extra) <= _SPARE
        and (not set(sought) <= _SPARE or set(sought) == set(said))
    )


def _without(words: list[str], part: list[str]) -> list[str] | None:
    """`words` without the run of words `part`; None where it does not stand there."""
    for start in range(len(words) - len(part) + 1):
        if words[start : start + len(part)] == part:
            return words[:start] + words[start + len(part) :]
    return None
