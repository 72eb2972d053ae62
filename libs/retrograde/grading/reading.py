r"""From an answer's text to what it may mean: one expression for each way to read it.

Three things can be read in two ways: "1,234" is a number or a list, "5 m" is five metres or 5 times m, and in
"(\pm 1, \pm 2)" the signs go together or not.
"""

from __future__ import annotations

import re
from itertools import product

from retrograde.grading.clauses import FIELDS, WHOLE_DOMAINS, Declared
from retrograde.grading.expression import (
    Apply,
    Collection,
    CostError,
    Expression,
    Family,
    Number,
    Quantity,
    Relation,
    Symbol,
    UnreadableError,
    rebuilt,
    renamed,
    symbols,
    walk,
)
from retrograde.grading.namings import named_set
from retrograde.grading.normal import join_thousands
from retrograde.grading.parser import parse
from retrograde.grading.phrases import resolve
from retrograde.grading.piecewise import as_cases
from retrograde.grading.relations import function_head
from retrograde.grading.tokens import Token, tokenize

MAX_READINGS = 6
MAX_SIGNS = 6  # of plus or minus, in one answer
MAX_CHOICES = 16  # tuples that signs in them spread to
_CHOICES = frozenset({"pm", "mp"})
_PART_LABEL = re.compile(
    r"(?:\A|(?<=[\s,;.:$}]))(?:\((?:[a-e]|i{1,3}|iv|v|[1-6])\)|(?:[a-e]|i{1,3}|iv)\))\s*:?(?=[\s$\\]|[^)]{3})"
)
_ALL_TEXT = re.compile(r"\A\s*\\text\s*\{([^{}]*)\}\s*\Z")
_WORD_LABEL = re.compile(r"\b(?:part|case)\s*\(?(?:[a-e]|[1-5])\)?\s*:?", re.IGNORECASE)
_FIRST_LABELS = frozenset({"(a)", "(i)", "(1)", "a)", "i)"})
_DECLARING = frozenset("knmtjl")


def readings(text: str) -> list[Expression]:
    """All expressions `text` (normalised) may be, at least one. Raises UnreadableError, CostError."""
    found: list[Expression] = []
    failure = UnreadableError("nothing to read")
    parts = labelled_parts(text)
    unlabelled = "; ".join(parts)
    for variant in dict.fromkeys((join_thousands(unlabelled), unlabelled)):
        try:
            found += [reading for reading in _variants(variant) if reading not in found]
        except UnreadableError as error:
            failure = error
    if not found:
        return _last_side(text, failure)
    return [_in_order(reading) if len(parts) > 1 else reading for reading in found[:MAX_READINGS]]


def _last_side(text: str, failure: UnreadableError) -> list[Expression]:
    """What an equation ends with, where what stands before it cannot be read. Raises `failure`."""
    before, sign, last = text.rpartition("=")
    if not sign or before.count("{") != before.count("}") or "\\ne" in before[-4:]:
        raise failure
    return _variants(last)


def _in_order(reading: Expression) -> Expression:
    """Labelled parts have an order."""
    return Collection("()", reading.items) if isinstance(reading, Collection) and reading.kind == "," else reading


def _variants(text: str) -> list[Expression]:
    named = named_set(text)
    if named is not None:
        return [named]
    tokens = tokenize(as_cases(text))
    try:
        found = _read(tokens, units=True)
    except UnreadableError:
        return _read(tokens, units=False)
    if any(isinstance(part, Quantity) and not part.unit.is_sure for reading in found for part in walk(reading)):
        found += _read(tokens, units=False)
    return found


def _read(tokens: list[Token], *, units: bool) -> list[Expression]:
    phrase = resolve(tokens, units=units)
    return _spreads(parse(phrase.tokens), phrase.declared)


def _spreads(expression: Expression, declared: Declared) -> list[Expression]:
    num_signs = sum(isinstance(part, Apply) and part.operation in _CHOICES for part in walk(expression))
    if num_signs > MAX_SIGNS:
        raise CostError(f"{num_signs} signs of plus or minus; at most {MAX_SIGNS} are read")
    if not num_signs:
        return [with_letters(expression, declared)]
    together, apart = spread(expression, is_tied=True), spread(expression, is_tied=False)
    return [with_letters(each, declared) for each in ((together,) if together == apart else (together, apart))]


def labelled_parts(text: str) -> list[str]:
    """`(a) 3 (b) 5` as its parts 3 and 5; a text without labels is one part."""
    text = _ALL_TEXT.sub(r"\1", text)
    labels = [label.rstrip(": ") for label in _PART_LABEL.findall(text)]
    is_lettered = _are_labels(labels) and labels[0] in _FIRST_LABELS
    if not is_lettered and not _are_labels(_WORD_LABEL.findall(text)):
        return [text]
    parts = _WORD_LABEL.sub("\x00", _PART_LABEL.sub("\x00", text)).split("\x00")
    kept = [re.sub(r"[\s,;.]+(?:and)?\s*\Z", "", part).strip(" ,;.") for part in parts]
    return [part for part in kept if re.search(r"\w", part)]


def _are_labels(labels: list[str]) -> bool:
    return len(labels) > 1 and len(set(labels)) == len(labels)


def with_letters(expression: Expression, declared: Declared) -> Expression:
    """A family, where letters of the expression are said to be integers; arbitrary letters under names of their own."""
    body, integers, first, fields = _without_domains(expression)
    if isinstance(body, Family):
        return body
    running = (integers | declared.parameters) & symbols(body)
    free = (fields | declared.free) & symbols(body) - _function_names(body)
    body = _with_own_values(body)
    body = renamed(body, {name: f"{declared.sign} {name}" for name in free})
    if not running or _is_order(body) or _is_argument(body, running):
        return body
    return Family(body, running, declared.first if first is None else first)


def _function_names(expression: Expression) -> frozenset[str]:
    """What is defined on the left sides: f of `f(x) = x + c`."""
    heads = [function_head(part.sides[0]) for part in walk(expression) if isinstance(part, Relation)]
    return frozenset(head[0] for head in heads if head)


def _with_own_values(expression: Expression) -> Expression:
    """`f(x) = f(1) x` as `f(x) = c x` with an arbitrary c."""
    match expression:
        case Relation((Apply("mul", (Symbol(name), _)) as head, body), signs):
            return Relation((head, _without_own(body, name)), signs)
        case Collection(kind, items):
            return Collection(kind, tuple(_with_own_values(item) for item in items))
        case _:
            return expression


def _without_own(body: Expression, name: str) -> Expression:
    match body:
        case Apply("mul", (Symbol(own), Number(value))) if own == name:
            return Symbol(f"any {name}({value})")
        case _:
            return rebuilt(body, lambda part: _without_own(part, name))


def _is_order(body: Expression) -> bool:
    """Whether an inequality is told, which needs no parameter: "n >= 2"."""
    return any(isinstance(part, Relation) and not set(part.signs) <= {"=", "in", "=="} for part in walk(body))


def _is_argument(body: Expression, running: frozenset[str]) -> bool:
    """Whether what runs is only what a function is applied to: "f(n) = n + 1 for all integers n"."""
    parts = body.items if isinstance(body, Collection) else (body,)
    heads = [part.sides[0] for part in parts if isinstance(part, Relation)]
    names = {name for head in heads if isinstance(head, Apply) for name in symbols(head.arguments[-1])}
    return bool(heads) and running <= names


_Domains = tuple[Expression, frozenset[str], int | None, frozenset[str]]


def _without_domains(expression: Expression) -> _Domains:
    r"""Without items like `k \in \mathbb{Z}`; the integers and the other letters these declare."""
    whole = _whole(expression)
    if whole is not None:
        return whole, whole.parameters, whole.first, frozenset()
    if not isinstance(expression, Collection) or expression.kind not in {",", "or"}:
        return expression, frozenset(), None, frozenset()
    return _sorted_out(expression)


def _sorted_out(expression: Collection) -> _Domains:
    kept: list[Expression] = []
    integers: set[str] = set()
    fields: set[str] = set()
    first: int | None = None
    for item in expression.items:
        domain, letters = _domain(item, expression)
        if domain:
            letters |= _letters_before(kept)
        if domain in WHOLE_DOMAINS:
            integers |= letters
            first = WHOLE_DOMAINS[domain] if first is None else first
        elif domain:
            fields |= letters
        else:
            body, inner, start, more = _without_domains(item)
            kept.append(body.body if isinstance(body, Family) else body)
            integers, fields, first = integers | inner, fields | more, start if first is None else first
    if not kept:
        return expression, frozenset(), None, frozenset()
    body = kept[0] if len(kept) == 1 else Collection(expression.kind, tuple(kept))
    return body, frozenset(integers), first, frozenset(fields)


def _letters_before(kept: list[Expression]) -> frozenset[str]:
    r"""Takes the a of `a, b \in \mathbb{R}` from the end of the list."""
    letters: set[str] = set()
    while len(kept) > 1 and isinstance(kept[-1], Symbol) and len(kept[-1].name) == 1:
        letters |= symbols(kept.pop())
    return frozenset(letters)


def _domain(item: Expression, among: Collection) -> tuple[str, frozenset[str]]:
    r"""The domain an item declares for its letters: `k \in \mathbb{Z}`, or `k \ge 0` beside a formula in k."""
    match item:
        case Relation((*_, Symbol(name)), (*_, "in")) if name in WHOLE_DOMAINS or name in FIELDS:
            return name, symbols(item)
        case Relation((Symbol(name), bound), (">=" | ">",)) if name in _DECLARING and not symbols(bound):
            others = [other for other in among.items if other is not item]
            if any(name in symbols(other) and isinstance(other, Relation) for other in others):
                return "\\W", frozenset({name})
        case Relation((Symbol(name), _), ("!=",)):
            others = [other for other in among.items if other is not item]
            if any(
                name in symbols(other) and not isinstance(other, Symbol) and not _is_order(other) for other in others
            ):
                return "\\R", frozenset()
        case _:
            pass
    return "", frozenset()


def _whole(item: Expression) -> Family | None:
    r"""`n \equiv 1 \pmod 4` as the family 1 + 4k; `n \in \mathbb{Z}` as all integers."""
    match item:
        case Relation((Symbol(name), residue, modulus), ("==", "mod")) if not symbols(residue) | symbols(modulus):
            k = Symbol(f"{name}'")
            return Family(Apply("add", (residue, Apply("mul", (modulus, k)))), frozenset({k.name}), is_declared=False)
        case Relation((Symbol(), Symbol(domain)), ("in",)) | Symbol(domain) if domain in WHOLE_DOMAINS:
            return Family(Symbol("k"), frozenset({"k"}), WHOLE_DOMAINS[domain])
        case _:
            return None


def spread(expression: Expression, *, is_tied: bool) -> Expression:
    r"""`a \pm b` as the list of both, wherever it stands; a sign inside another is free of it."""
    if isinstance(expression, Collection) and expression.kind in {",", "{}", "or"}:
        items = [spread(item, is_tied=is_tied) for item in expression.items]
        flat = [part for item in items for part in _listed(item, expression.kind)]
        return Collection(expression.kind, tuple(flat))
    if not _has_choice(expression):
        return expression
    if isinstance(expression, Relation) and expression.signs[-1] == "mod":
        left, residue, modulus = expression.sides
        rows = _listed(spread(residue, is_tied=is_tied), ",")
        return Collection(",", tuple(Relation((left, row, modulus), expression.signs) for row in rows))
    if isinstance(expression, Relation) and not _has_choice(expression.sides[0]):
        values = spread(expression.sides[-1], is_tied=is_tied)
        heads = expression.sides[:-1]
        return Collection(",", tuple(Relation((*heads, value), expression.signs) for value in _listed(values, ",")))
    if isinstance(expression, Collection) and not is_tied:
        return _combinations(expression)
    chosen = [_with_sign(expression, sign) for sign in ("add", "neg")]
    return Collection(",", tuple(part for each in chosen for part in _listed(spread(each, is_tied=is_tied), ",")))


def _combinations(expression: Collection) -> Expression:
    """A tuple with each sign chosen by itself."""
    values = [_listed(spread(item, is_tied=False), ",") for item in expression.items]
    rows = list(product(*values))[:MAX_CHOICES]
    return Collection(",", tuple(Collection(expression.kind, row) for row in rows))


def _listed(expression: Expression, kind: str) -> tuple[Expression, ...]:
    if isinstance(expression, Collection) and expression.kind == "," and kind in {",", "{}"}:
        return expression.items
    return (expression,)


def _has_choice(expression: Expression) -> bool:
    return any(isinstance(part, Apply) and part.operation in _CHOICES for part in walk(expression))


def _with_sign(expression: Expression, operation: str) -> Expression:
    """With the outermost signs chosen: + for "add", - for "neg"; what stands below a chosen sign is left."""
    if isinstance(expression, Apply) and expression.operation in _CHOICES:
        is_plus = (operation == "add") == (expression.operation == "pm")
        return expression.arguments[0] if is_plus else Apply("neg", expression.arguments)
    return rebuilt(expression, lambda part: _with_sign(part, operation))
