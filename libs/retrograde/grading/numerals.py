"""Numbers in words: "twenty-one", "a dozen", "two and a half", "3rd", "three quarters"."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = {word: value for value, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "  # noqa: SIM905
    "eighteen nineteen".split()
)}  # fmt: skip
_TENS = {word: 10 * value for value, word in enumerate(
    "twenty thirty forty fifty sixty seventy eighty ninety".split(), 2  # noqa: SIM905
)}  # fmt: skip
_SMALL = {**_ONES, **_TENS, "fourty": 40, "a": 1, "an": 1}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINAL_ONES = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "  # noqa: SIM905
    "fifteenth sixteenth seventeenth eighteenth nineteenth".split()
)
ORDINALS = {
    **{word: value for value, word in enumerate(_ORDINAL_ONES)},
    **{word[:-1] + "ieth": value for word, value in _TENS.items()},
    "hundredth": 100,
    "thousandth": 1000,
}
_DENOMINATORS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4, "hundredth": 100, "thousandth": 1000} | {
    name: value for word, value in ORDINALS.items() if value not in {0, 1, 2} for name in (word, f"{word}s")
}
_SUFFIXED = re.compile(r"(\d{1,9})(?:st|nd|rd|th)", re.IGNORECASE)
_MAX_WORDS = 24


def words_to_number(text: str) -> Fraction | None:
    """The number that `text` spells, cardinal, ordinal or fraction; None where it is no number in words."""
    suffixed = _SUFFIXED.fullmatch(text.strip()[:20])
    if suffixed:
        return Fraction(int(suffixed[1]))
    words = re.findall(r"[a-z]+|[^\sa-z-]", text.lower()[:400].strip().rstrip("."))
    if not words or len(words) > _MAX_WORDS or len(text) > 400:  # noqa: PLR2004 - the longest number that is read
        return None
    if words[0] in {"minus", "negative"}:
        number = _unsigned(words[1:])
        return None if number is None else -number
    return _unsigned(words)


def ordinal(word: str) -> int | None:
    """3 for "third" and for "3rd"."""
    suffixed = _SUFFIXED.fullmatch(word)
    return int(suffixed[1]) if suffixed else ORDINALS.get(word)


def _unsigned(words: list[str]) -> Fraction | None:
    if "point" in words:
        return _decimal(words)
    for split in range(len(words)):
        if words[split] == "and" and split:
            whole, part = _cardinal(words[:split]), _fraction(words[split + 1 :])
            if whole is not None and part is not None and part < 1:
                return whole + part
    readings = (_cardinal(words), _fraction(words), _ordinal(words))
    return next((Fraction(number) for number in readings if number is not None), None)


def _cardinal(words: list[str]) -> int | None:
    """For "two hundred and five", "a dozen", "three dozen"; "a" alone is no number."""
    if not words or words in (["a"], ["an"]) or words[-1] == "and":
        return None
    if words[-1] == "dozen":
        count = 1 if words[:-1] in ([], ["a"]) else _cardinal(words[:-1])
        return None if count is None else 12 * count
    total, group, last = 0, 0, 10**15
    for position, word in enumerate(words):
        if word == "and" and position and words[position - 1] in {"hundred", *_SCALES}:
            continue
        if word == "hundred" and 0 < group < 100:  # noqa: PLR2004 - "twelve hundred"
            group *= 100
        elif word in _SCALES and group > 0 and _SCALES[word] < last:
            total, group, last = total + group * _SCALES[word], 0, _SCALES[word]
        elif word in _SMALL and _fits(group, _SMALL[word], word):
            group += _SMALL[word]
        else:
            return None
    return total + group


def _fits(group: int, value: int, word: str) -> bool:
    """Whether a small number may follow what its group holds: 20 + 1, 100 + 21, but not 2 + 3."""
    if word in {"a", "an"}:
        return group == 0
    return group % 100 == 0 or (group % 100 in _TENS.values() and 0 < value < 10)  # noqa: PLR2004 - "twenty-one"


def _decimal(words: list[str]) -> Fraction | None:
    """For "three point one four": the digits after the point are told one by one."""
    split = words.index("point")
    whole = _cardinal(words[:split]) if split else 0
    digits = [_ONES.get(word, 10) for word in words[split + 1 :]]
    if whole is None or not digits or max(digits) > 9:  # noqa: PLR2004 - a digit
        return None
    return whole + Fraction(int("".join(map(str, digits))), 10 ** len(digits))


def _fraction(words: list[str]) -> Fraction | None:
    """For "one half", "a third", "three quarters", "half"."""
    if words in (["half"], ["quarter"]):
        return Fraction(1, _DENOMINATORS[words[0]])
    if len(words) < 2 or words[-1] not in _DENOMINATORS:  # noqa: PLR2004 - a count and what is counted
        return None
    count = 1 if words[:-1] in (["a"], ["an"]) else _cardinal(words[:-1])
    if count is None or (count in _TENS.values() and _DENOMINATORS[words[-1]] < 10):  # noqa: PLR2004 - "twenty third"
        return None
    return Fraction(count, _DENOMINATORS[words[-1]])


def _ordinal(words: list[str]) -> int | None:
    """For "third", "twenty-first"."""
    if not words or words[-1] not in ORDINALS:
        return None
    before = _cardinal(words[:-1]) if words[:-1] else 0
    return None if before is None else before + ORDINALS[words[-1]]
