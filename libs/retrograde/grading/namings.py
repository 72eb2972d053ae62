"""Sets that have a name: "all odd positive integers", "multiples of 3", "all real numbers except 2", "the origin"."""

from __future__ import annotations

import re
from fractions import Fraction

from retrograde.grading.expression import Apply, Collection, Expression, Family, Number, Relation, Symbol
from retrograde.grading.numerals import words_to_number
from retrograde.grading.parser import parse
from retrograde.grading.phrases import resolve
from retrograde.grading.tokens import tokenize

_K = Symbol("k")
_LEAD = (
    r"(?:the (?:set|numbers?) (?:of )?)?(?:(?:for|when|only|precisely|exactly) )*(?:all|any|every|each|the)?(?: the)? ?"
)
_SIGN = r"(?P<sign>(?:strictly )?positive|negative|non-?negative|natural)?"
_KIND = r"(?P<kind>even|odd)?"
_NOUN = r"(?:integers?|numbers?|naturals?|whole numbers?)"
_TAIL = r"(?: [a-z]| [a-z] works?| works?)?"
_INTEGERS = re.compile(
    rf"{_LEAD}{_SIGN} ?{_KIND} ?{_SIGN.replace('sign', 'sign_after')} ?{_NOUN}{_TAIL}", re.IGNORECASE
)
_IS = r"(?:is |are |that are |must be |has to be )"
_PARITY = re.compile(rf"(?:{_LEAD}[a-z] {_IS}|{_LEAD})(?P<kind>even|odd)(?: [a-z])?", re.IGNORECASE)
_MULTIPLES = re.compile(
    rf"{_LEAD}{_SIGN} ?(?:(?:integer )?multiples? of|(?:integers?|numbers?|[a-z]) {_IS}?"
    r"(?:a )?(?:divisible by|multiples? of)|divisible by) (?P<modulus>\d{1,6}|[a-z]+)",
    re.IGNORECASE,
)
_FUNCTIONS = re.compile(
    r"(?:all |any |every |the |only )*(?:f |[a-z]\([a-z]\) )?(?:is |are )?(?:a |an |the )?"
    r"(?P<function>constant|identity)(?: functions?| polynomials?| map(?:ping)?)?",
    re.IGNORECASE,
)
_REALS = re.compile(
    r"(?:all |any |every )?(?:real (?:numbers?|values?)|reals?)(?: (?:of )?[a-z])?,? "
    r"(?:except|but|other than|excluding|besides)(?: for)? (?P<out>.+)",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\b(?:if and only if|(?:exactly|precisely) (?:when|if|for)|iff)\b ?", re.IGNORECASE)
_ORIGIN = re.compile(r"(?:at |only )?(?:the )?origin", re.IGNORECASE)
_POSITIVE = frozenset({"positive", "strictly positive", "natural"})


def named_set(text: str) -> Expression | None:
    """What a description names; None if `text` is no such description."""
    words = re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", text)
    words = re.sub(r"\s+", " ", words).strip(" .")
    words = _CONDITION.split(words)[-1]
    if _ORIGIN.fullmatch(words):
        return Collection("()", (Number(Fraction(0)), Number(Fraction(0))))
    for pattern, build in (
        (_INTEGERS, _integers),
        (_PARITY, _integers),
        (_MULTIPLES, _multiples),
        (_REALS, _reals),
        (_FUNCTIONS, _function),
    ):
        match = pattern.fullmatch(words)
        if match:
            return build(match)
    return None


def _integers(match: re.Match[str]) -> Expression | None:
    groups = match.groupdict()
    sign = (groups.get("sign") or groups.get("sign_after") or "").lower()
    kind = (groups["kind"] or "").lower()
    if not kind and not sign and "integer" not in match.group().lower() and "natural" not in match.group().lower():
        return None
    if sign == "negative":
        return None
    step = 2 if kind else 1
    offset = 1 if kind == "odd" else 0
    first = None if not sign else 0 if kind == "odd" or "non" in sign else 1
    if "natural" in match.group().lower() and first is None:
        first = 0 if kind == "odd" else 1
    return _progression(step, offset, first, is_declared=first is not None or "integer" in match.group().lower())


def _multiples(match: re.Match[str]) -> Expression | None:
    sign = (match["sign"] or "").lower()
    modulus = match["modulus"]
    value = int(modulus) if modulus.isdigit() else words_to_number(modulus)
    first = 1 if sign in _POSITIVE else None
    return None if not value else _progression(int(value), 0, first, is_declared=first is not None)


def _progression(step: int, offset: int, first: int | None, *, is_declared: bool) -> Family:
    body = Apply("add", (Apply("mul", (Number(Fraction(step)), _K)), Number(Fraction(offset))))
    return Family(body, frozenset({"k"}), first, is_declared)


def _function(match: re.Match[str]) -> Expression:
    body = Symbol("any c") if match["function"].lower() == "constant" else Symbol("x")
    return Relation((Apply("mul", (Symbol("f"), Symbol("x"))), body), ("=",))


def _reals(match: re.Match[str]) -> Expression:
    outside = parse(resolve(tokenize(match["out"]), units=False).tokens)
    return Collection("setminus", (Symbol("\\R"), _as_set(outside)))


def _as_set(expression: Expression) -> Expression:
    match expression:
        case Relation(sides, ("=",)):
            return _as_set(sides[-1])
        case Collection("," | "or" | "{}", items):
            return Collection("{}", tuple(item.sides[-1] if isinstance(item, Relation) else item for item in items))
        case _:
            return Collection("{}", (expression,))
