"""What is said beside an answer that changes how it is compared: "up to order", "rounded to two decimal places"."""

from __future__ import annotations

import re
from fractions import Fraction

from retrograde.grading.expression import Collection, Expression, rebuilt

_ANY_ORDER = re.compile(
    r"\s*(?:,|and|or)?\s*(?:\\text\s*\{\s*)?\(?(?:,|and|or)?\s*"
    r"(?:(?:all|any|their|its|the|of|up to|in any|every|cyclic|in some) ?)*"
    r"(?:permutations?(?: (?:thereof|of (?:it|them|these)))?|in any order|up to (?:order|permutations?)|order)"
    r"\)?\s*\}?(?=\W*\Z|,)",
    re.IGNORECASE,
)
_UP_TO_ORDER = re.compile(r"\A\s*up to (?:order|permutations?),?\s*", re.IGNORECASE)
_PLACES = re.compile(
    r"(?:to|with|in|using|has|have) (?:(?:the )?nearest (?P<unit>integer|whole number|unit|tenth|hundredth|thousandth)"
    r"|(?:exactly )?(?P<count>\d|one|two|three|four|five|six) (?:decimals?|decimal places?|d\.p\.))",
    re.IGNORECASE,
)
_GOVERNING = re.compile(
    r"\b(?:divisors?|factors|multiples?|powers|fail|reject|parallel|perpendicular|bisector|increasing|decreasing|diverge"
    r"|converge|tangent|two lines|circle|half-plane|smaller|larger|bigger|double|triple|halve)",
    re.IGNORECASE,
)
_UNITS = {"integer": 0, "whole number": 0, "unit": 0, "tenth": 1, "hundredth": 2, "thousandth": 3}
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


def without_any_order(text: str) -> tuple[str, bool]:
    """`text` without "and its permutations" and the like; whether it said so."""
    kept = _UP_TO_ORDER.sub("", _ANY_ORDER.sub("", text))
    is_whole = kept.count("{") == kept.count("}") and re.search(r"\d|[a-z]", kept)
    return (kept, True) if kept != text and is_whole else (text, False)


def governing(text: str) -> frozenset[str]:
    """Words that make something else of the value beside them: "divisors of 30", "fail to reject", "increasing"."""
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
