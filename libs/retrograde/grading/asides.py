"""What is said beside a value that changes how it is compared: "up to order", "5 m east", "9 at x = 2", "5 apples"."""

from __future__ import annotations

import re
from fractions import Fraction

from retrograde.grading.expression import Collection, Expression, rebuilt
from retrograde.grading.units import unit_called

_ANY_ORDER = re.compile(
    r"\s*(?:,|and|or)?\s*(?:\\text\s*\{\s*)?\(?(?:,|and|or)?\s*"
    r"(?:(?:all|any|their|its|the|of|up to|in any|every|cyclic|in some) ?)*"
    r"(?:permutations?(?: (?:thereof|of (?:it|them|these)))?|in any order|up to (?:order|permutations?)|order)"
    r"\)?\s*\}?(?=\W*\Z|,)",
    re.IGNORECASE,
)
_ORDER = re.compile("order|permutation", re.IGNORECASE)
_UP_TO_ORDER = re.compile(r"\A\s*up to (?:order|permutations?),?\s*", re.IGNORECASE)
_PLACES = re.compile(
    r"(?:to|with|in|using|has|have) (?:(?:the )?nearest (?P<unit>integer|whole number|unit|tenth|hundredth|thousandth)"
    r"|(?:exactly )?(?P<count>\d|one|two|three|four|five|six) (?:decimals?|decimal places?|d\.p\.))",
    re.IGNORECASE,
)
_GOVERNING = re.compile(
    r"\b(?:divisors?|factors|multiples?|powers|fail|reject|parallel|perpendicular|bisector|increasing|decreasing|diverge"
    r"|converge|tangent|two lines|circle|half-plane|smaller|larger|bigger|doubl|tripled|halve)",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:at|when|if|for|where|provided)\b[^=<>\\\d]*?(?<![A-Za-z\\])(?P<name>[a-z])\s*"
    r"(?P<sign>=|<|>|\\le(?![a-z])|\\ge(?![a-z]))\s*(?P<value>[^=<>,;()\s]{1,60})\)?\s*\Z"
)
_WHEN = re.compile(r"\b(?:when|if|iff|for) (?!every|all|any|each)")
_COUNTED = re.compile(r"(?<![\w^.,])\d+ ?(?:\\text ?\{ ?)?(?P<noun>[A-Za-z]{4,})")
_NO_THINGS = frozenset(
    "unit units square cubic degree degrees percent hundred thousand million billion trillion times each more less "  # noqa: SIM905
    "over plus minus points point with when where total altogether solutions ways".split()
)
_OPPOSITES = tuple(
    (re.compile(rf"\b(?:{one})", re.IGNORECASE), re.compile(rf"(?<!no )(?<!not )\b(?:{other})", re.IGNORECASE))
    for one, other in (
        ("north", "south"), ("east", "west"), (r"left\b", r"right\b"), (r"up\b|upward|rise", r"down\b|downward|fall"),
        (r"above\b", r"below\b"), (r"before\b", r"after\b"), ("increas|gain|profit", r"decreas|los[est]|reduc"),
        (r"(?<!no )(?<!not )more\b|greater\b|larger\b|bigger\b", r"less\b|fewer\b|smaller\b"),
        (r"older\b", r"younger\b"),
        (r"even\b", r"odd\b"), ("maxim", "minim"), (r"quotient\b", r"remainder\b"), (r"radius\b", r"diameter\b"),
        (r"rows?\b", r"columns?\b"), (r"true\b", r"false\b"), (r"longer\b|taller\b", r"shorter\b"),
        (r"faster\b", r"slower\b"), (r"clockwise", r"counter|anticlockwise|anti-clockwise"), ("converge", "diverge"),
        (r"inside\b", r"outside\b"), (r"horizontal", r"vertical"), (r"ahead\b|in front", r"behind\b"),
        (r"forward", r"backward"), (r"heads\b", r"tails\b"), (r"boys?\b", r"girls?\b"), (r"parallel", r"perpendicular"),
        (r"positive", r"negative"),
    )
)  # fmt: skip
_UNITS = {"integer": 0, "whole number": 0, "unit": 0, "tenth": 1, "hundredth": 2, "thousandth": 3}
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


def without_any_order(text: str) -> tuple[str, bool]:
    """`text` without "and its permutations" and the like; whether it said so."""
    if not _ORDER.search(text):
        return text, False
    kept = _UP_TO_ORDER.sub("", _ANY_ORDER.sub("", text))
    is_whole = kept.count("{") == kept.count("}") and re.search(r"\d|[a-z]", kept)
    return (kept, True) if kept != text and is_whole else (text, False)


def governing(text: str) -> frozenset[str]:
    """Words that make something else of the value beside them: "divisors of 30", "fail to reject", "increasing"."""
    if _WHEN.search(text):
        return frozenset()
    return frozenset(match.group().lower()[:7] for match in _GOVERNING.finditer(text))


def in_any_order(expression: Expression) -> Expression:
    """Tuples as sets, so that order says nothing."""
    if isinstance(expression, Collection) and expression.kind in {"()", "<>"}:
        return Collection("{}", expression.items)
    return rebuilt(expression, in_any_order)


def places_asked(question: str) -> Fraction | None:
    """Half of the last decimal place that the question asks for; None where it asks for an exact value."""
    asked = list(_PLACES.finditer(question))
    if not asked:
        return None
    found = asked[-1]
    count = found["count"]
    places = (
        _UNITS[found["unit"].lower()] if count is None else int(count) if count.isdigit() else _COUNTS[count.lower()]
    )
    return Fraction(1, 2 * 10**places)


def clash(told: str, asked: str) -> bool:
    """Whether one says the opposite of the other: "5 m east" and "5 m west", "a loss of 5" and "a profit of 5"."""
    for one, other in _OPPOSITES:
        sides = [(bool(one.search(text)), bool(other.search(text))) for text in (told, asked)]
        if sides in ([(True, False), (False, True)], [(False, True), (True, False)]):
            return True
    return False


def condition(text: str) -> tuple[str, str, str] | None:
    """Letter, sign and value of the one condition at the end: ("x", "=", "2") of "9 at x=2"; None without one."""
    match = _CONDITION.search(text)
    return (match["name"], match["sign"], match["value"]) if match else None


def counts_things(text: str) -> bool:
    """Whether it counts what is no unit of measurement: "5 apples"."""
    match = _COUNTED.search(text)
    return match is not None and match["noun"].lower() not in _NO_THINGS and not unit_called(match["noun"])
