r"""Classes of meaning that answers share: yes, no, none, undefined, infinite, all reals, ...

A text may belong to several: "does not exist" says none, undefined and no. Two answers agree where their classes meet.
"""

from __future__ import annotations

import re

from retrograde.grading.spelling import unwrapped

_KIND = (
    r"(?:real|rational|complex|positive|negative|natural|whole|integer|odd|even|such|valid|possible|integral|nonzero)"
)
_THING = (
    r"(?:solutions?|roots?|values?|numbers?|integers?|pairs?|triples?|tuples?|functions?|answers?|ways?|sets?|points?"
    r"|limit|maximum|minimum|polynomials?|primes?|triangles?|[xynkmfap])"
)
_CLAIM = r"(?:it|this|that|the (?:statement|claim|equation|answer|inequality|conjecture|proposition|assertion))"
_ABSENT = r"(?:does not|doesn't|do not|don't) exist|d\.?n\.?e|non-?existent"
_NOTHING = rf"(?:(?:such )?(?:an? )?(?:the )?(?:{_KIND} )?(?:{_THING}|it) )?(?:{_ABSENT})"
_WHICH = r"(?: (?:exists?|works?|satisf(?:y|ies).{0,80}|at all|possible|to .{0,80}))"
_ALL = r"(?:(?:the )?set of )?(?:all|any|every|each)(?: of)?(?: the)?"
_IN = r"(?:[a-z] ?(?:∈|\\in) ?)?"
_HOLDS = (
    r"(?:(?:(?:it|this|that|the (?:inequality|equation|statement|identity|claim)) )?"
    r"(?:holds|is (?:true|satisfied|valid))|true|valid) for "
)
_INFINITY = r"(?:∞|\\infty|infinity|inf)"
_PATTERNS: dict[str, tuple[str, ...]] = {
    "yes": (r"yes|true|correct|possible", rf"{_CLAIM}(?: is|'s) (?:indeed |always )?(?:true|correct|possible)"),
    "no": (
        r"no|false|incorrect|not (?:possible|true|correct)|impossible",
        rf"{_CLAIM}(?: is|'s)(?: not| never|n't) (?:always )?(?:true|correct|possible)",
        rf"{_CLAIM}(?: is|'s) (?:false|incorrect|impossible)",
    ),
    "none": (
        rf"(?:there (?:is|are|exists?) )?no(?: {_KIND}){{0,3}} {_THING}(?: [a-z])?{_WHICH}?",
        r"(?:there (?:is|are) )?none(?: exists?| of (?:them|these))?",
        r"nothing|(?:the )?(?:empty|null) set|empty|inconsistent",
        rf"(?:(?:the )?(?:equation|system|inequality|problem|it) )?has no (?:{_KIND} )?(?:solutions?|roots?)",
        r"\{\s*\}|∅|\\\{\s*\\\}|\\(?:emptyset|varnothing)",
        _NOTHING,
    ),
    "undefined": (
        _NOTHING,
        r"(?:(?:it|the (?:expression|value|limit|slope|answer|function)) is )?(?:undefined|not defined|indeterminate)",
    ),
    "infinite": (
        rf"(?:\+ ?|positive )?{_INFINITY}|infinite|unbounded|infinite solutions?",
        r"(?:there (?:is|are) )?(?:infinitely many|an infinite number)(?: of)?(?: such)?(?: \w+)?",
    ),
    "minus infinity": (rf"(?:- ?|\u2212|negative |minus ){_INFINITY}",),
    "all reals": (
        rf"(?:{_HOLDS})?(?:{_ALL} )?(?:real numbers?|reals?|real values?(?: of [a-z])?|real [a-z])(?: [a-z])?",
        rf"{_IN}(?:\\mathbb ?\{{? ?R ?\}}?|\\R|\u211d)",
        rf"{_IN}\( ?- ?{_INFINITY} ?, ?\+? ?{_INFINITY} ?\)",
        rf"- ?{_INFINITY} ?(?:<|\\lt) ?[a-z] ?(?:<|\\lt) ?\+?{_INFINITY}",
    ),
    "all integers": (
        rf"{_IN}(?:\\mathbb ?\{{? ?Z ?\}}?|\\Z|\u2124)",
        rf"{_ALL} (?:integers?|integral values?)(?: [a-z])?",
    ),
    "all positive integers": (
        rf"{_IN}(?:\\mathbb ?\{{? ?Z ?\}}?|\u2124) ?[\^_]? ?\{{? ?(?:\+|> ?0) ?\}}?",
        rf"{_ALL} positive integers?(?: [a-z])?",
    ),
    "neither": (r"neither(?: (?:odd|even) nor (?:odd|even)| of (?:them|these|the two)| one)?",),
}
_CLASSES = tuple(
    (name, re.compile(pattern, re.IGNORECASE)) for name, patterns in _PATTERNS.items() for pattern in patterns
)
_CASED = re.compile(r"\\mathbb ?\{? ?r|\\r\b|\\z\b|\\mathbb ?\{? ?z")
_CLAUSE = re.compile(r",? (?:because|since|as|for|when|by|given)\b.*", re.IGNORECASE | re.DOTALL)
_SUBJECT = r"(?:it|this|that|they|one|the (?:statement|claim|assertion|conjecture|proposition))"
_STOP = r"(?=\s*(?:[,.;:!(-]|\Z|(?:because|since|as)\b)"
_NO = re.compile(
    rf"(?:(?:no|false|impossible|not (?:true|possible|correct|necessarily|always))"
    rf"|{_SUBJECT}(?: is|'s|isn't)? ?(?:not (?:true|possible|correct)|false|incorrect|impossible)"
    rf"|{_SUBJECT} (?:cannot|can not|can't|does not|doesn't|is not|isn't|need not|fails)"
    rf"(?: (?:be done|hold|exist))?){_STOP}"
    r"|\s+(?:it|this|they|we|there)\b)",
    re.IGNORECASE,
)
_YES = re.compile(
    rf"(?:(?:yes|true|correct|possible)"
    rf"|{_SUBJECT}(?: is|'s) (?:indeed |always )?(?:true|correct|possible)"
    rf"|{_SUBJECT} (?:can|does|must|holds|is(?!:))(?: (?:be done|hold|exist))?){_STOP}"
    r"|\s+(?:it|this|they|we|there)\b)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[.;:(]\s")
_TAKEN_BACK = re.compile(
    r"\b(?:actually|wait|however|unless|maybe|perhaps|correction|rather|yes and no|but)\b", re.IGNORECASE
)
_AGAINST_YES = re.compile(
    r"\b(?:no|not|false|incorrect|impossible|cannot|never|or|but|however|unless|if|wrong)\b|n't\b", re.IGNORECASE
)
_AGAINST_NO = re.compile(
    r"\b(?:yes|or|but|however|unless|if|actually|wait)\b"
    r"|(?<!not )(?<!n't )(?<!never )(?<!not always )\b(?:true|correct|possible)\b",
    re.IGNORECASE,
)
_MAX_CHARS = 400


def meanings(text: str) -> frozenset[str]:
    """The classes that the whole of `text` belongs to; none where it says anything else."""
    plain = unwrapped(text[: _MAX_CHARS + 1])
    plain = re.sub(r"(?<=[^\s\\(])\s*\([^()\\]*[A-Za-z]{2}[^()\\]*\)", "", plain).strip(" .,;:!")
    if not plain or len(text) > _MAX_CHARS:
        return frozenset()
    found = _matching(plain) or _matching(_CLAUSE.sub("", plain))
    return found or _polarity(_CLAUSE.sub("", plain))


def _matching(plain: str) -> frozenset[str]:
    if _CASED.search(plain):
        return frozenset()
    found = {name for name, pattern in _CLASSES if pattern.fullmatch(plain)}
    if "none" in found and re.search(r"\bexist|\bsuch\b|\bDNE\b", plain, re.IGNORECASE):
        found.add("no")
    return frozenset(found)


def _polarity(plain: str) -> frozenset[str]:
    """Yes or no where the text opens with it and nothing after takes it back."""
    for name, opening, against in (("no", _NO, _AGAINST_NO), ("yes", _YES, _AGAINST_YES)):
        match = opening.match(plain)
        if match:
            rest = plain[match.end() :]
            clause, *others = _SENTENCE.split(rest, maxsplit=1)
            is_value = re.search(r"\d", rest) and not re.search(r"[A-Za-z]{3}", rest)
            is_doubtful = is_value or against.search(clause) or any(map(_TAKEN_BACK.search, others))
            return frozenset() if is_doubtful else frozenset({name})
    return frozenset()
