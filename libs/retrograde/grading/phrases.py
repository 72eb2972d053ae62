r"""What words do around mathematics: which are dropped, which are operators, which say what a letter runs over.

    phrase = resolve(tokens)        phrase.tokens hold no words; phrase.parameters are the letters said to be integers

In this order: remarks in brackets go ("(attained at x = 1)"); a clause at the end goes ("where k is an integer") and
leaves its parameters; words that mean something become signs ("at least", "million", "percent", "and"); units become
unit tokens; then in each item of the list the words around the one stretch of mathematics go ("There are 17 eggs").
What words say otherwise (a negation, two stretches in one item) is not mathematics: UnreadableError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrograde.grading.clauses import Declared, declared
from retrograde.grading.expression import UnreadableError
from retrograde.grading.items import counts, is_by, resolved
from retrograde.grading.measures import with_units
from retrograde.grading.tokens import LISTS, REFUTED, Kind, Token
from retrograde.grading.wordings import reworded

_NEGATIONS = frozenset(
    "not no never cannot neither nor none except without isn doesn don aren won fail fails maybe perhaps probably "  # noqa: SIM905
    "possibly might anything".split()
)
_CLAUSES = frozenset(
    "where for when if with such because since which attained achieved given provided obtained as occurring using "  # noqa: SIM905
    "assuming wherever whenever by at on that under".split()
)
_DOMAINS = frozenset({"\\Z", "\\N", "\\W", "\\R", "\\Q", "\\C"})
_DECLARING = frozenset({"constant", "constants", "arbitrary", "integer", "integers", "real", "reals"})


@dataclass(frozen=True, slots=True)
class Phrase:
    """Tokens without words, and what the words declare about letters."""

    tokens: list[Token]
    declared: Declared


def resolve(tokens: Sequence[Token], *, units: bool) -> Phrase:
    """The mathematics among the words. Raises UnreadableError where the words mean more than that."""
    kept, condition = reworded(tokens)
    kept, remarks = _without_remarks(kept)
    kept, clause = _without_clause(kept)
    if any(token.word in REFUTED for token in (*kept, *clause)) or any(token.word in _NEGATIONS for token in kept):
        raise UnreadableError("a negation")
    kept = with_units(kept) if units else kept
    return Phrase(resolved(kept), declared([*condition, *remarks, *clause]))


def _without_remarks(tokens: list[Token]) -> tuple[list[Token], list[Token]]:
    """Without bracketed groups that hold words, and what stood in these; with them where nothing else is there."""
    groups = _word_groups(tokens)
    inside = [any(start <= index <= end for start, end in groups) for index in range(len(tokens))]
    kept = [token for token, is_remark in zip(tokens, inside, strict=True) if not is_remark]
    if not any(token.is_mathematics for token in kept):
        return tokens, []
    return kept, [token for token, is_remark in zip(tokens, inside, strict=True) if is_remark]


def _word_groups(tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """Outermost `(...)` groups in which prose stands."""
    groups, opened = [], list[int]()
    for index, token in enumerate(tokens):
        if token.kind is Kind.SIGN and token.text == "(":
            opened.append(index)
        elif token.kind is Kind.SIGN and token.text == ")" and opened:
            start = opened.pop()
            is_aside = start > 1 and tokens[start - 1].is_prose and any(map(counts, tokens[:start]))
            if not opened and (is_aside or _is_prose(tokens[start : index + 1])):
                groups.append((start, index))
    return groups


def _is_prose(tokens: Sequence[Token]) -> bool:
    words = [token.word for token in tokens if token.kind is Kind.WORD]
    if (
        (len(tokens) > 1 and tokens[1].text in {"approx", "=", "or"})
        or words[:1] == ["or"]
        or _DOMAINS & {token.text for token in tokens}
    ):
        return True
    if tokens[-2].text == "ldots" and any(token.text == "=" for token in tokens):
        return True
    return any(token.is_prose for token in tokens)


def _without_clause(tokens: list[Token]) -> tuple[list[Token], list[Token]]:
    """What stands before the first "where", "for", ... and the clause from there; nothing is cut off in front."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += token.step
        is_domain = token.kind is Kind.COMMAND and token.text == "forall"
        begins = (
            (token.word in _CLAUSES and not is_by(tokens, index))
            or is_domain
            or (token.text == "," and _is_declaration(tokens[index + 1 :]))
        )
        if depth == 0 and begins and any(token.is_value for token in tokens[:index]):
            end = _clause_end(tokens, index)
            rest, clause = _without_clause(tokens[end:]) if end < len(tokens) else ([], [])
            return tokens[:index] + rest, tokens[index:end] + clause
    return tokens, []


def _is_declaration(tokens: Sequence[Token]) -> bool:
    """Whether nothing but letters and words follows, and these say what the letters are: "c any real constant"."""
    are_plain = all(token.kind in {Kind.NAME, Kind.WORD} or token.text == "," for token in tokens)
    return are_plain and any(token.word in _DECLARING for token in tokens)


def _clause_end(tokens: Sequence[Token], start: int) -> int:
    """Where the list goes on after a clause: at an "or" or "and" with an equation after it."""
    for index in range(start, len(tokens)):
        if tokens[index].word in LISTS and any(token.text == "=" for token in tokens[index:]):
            return index
    return len(tokens)
