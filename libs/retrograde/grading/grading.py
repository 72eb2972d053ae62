"""`grade(text, gold)`: the verdict on a completion or a bare answer, why, and the two normal forms compared."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from retrograde.core.problem import Grade, Verdict
from retrograde.grading.answer import boxed, find_answer
from retrograde.grading.asides import (
    clash,
    condition,
    counts_things,
    governing,
    in_any_order,
    places_asked,
    without_any_order,
)
from retrograde.grading.atoms import number
from retrograde.grading.choices import letter_of, option_of, options, same_choice
from retrograde.grading.equivalence import equivalent
from retrograde.grading.exact import UndefinedError
from retrograde.grading.expression import CostError, Expression, UnreadableError
from retrograde.grading.moments import same_moment
from retrograde.grading.normal import normalise
from retrograde.grading.reading import labelled_parts, readings
from retrograde.grading.relations import contradicts
from retrograde.grading.scalars import half_place, is_measure, rounds_to, same_scalar
from retrograde.grading.words import same_words

MAX_ANSWER_CHARS = 4_000
MAX_QUESTION_CHARS = 20_000
_CACHED_CHARS = 400  # of answer, gold and question together; longer ones are judged each time
_CACHE_SIZE = 16_384
_SHOWN_CHARS = 80
_GLANCED_CHARS = 400
_PLAIN_NUMBER = re.compile(r"\s*\$?([+-]?\d{1,18}(?:\.\d{1,18})?)\$?\s*")
_PLAIN_BOX = re.compile(r"[^\\<>`\"'?:]*\\boxed\{([^{}\\<>`\"'?:]{1,60})\}[.$\s]*")  # one, and nothing after it
_DOUBT = re.compile(r"n.t\b|\b(?:not|never|cannot|unlikely|false|wrong|no)\b", re.IGNORECASE)
_SAYS = re.compile(r"\w")
_LABEL = re.compile(
    r"\A\s*(?:(?:final |correct )?answer|ans|solution)\s*[:.]\s*(?=\S)|\A.*#{4}\s*", re.IGNORECASE | re.DOTALL
)
_SPACING = re.compile(r"\\text\s*\{([^{}]*)\}|_\s*\{([\w+-]*)\}|_(?=\d)|(?<!\d)\s+|\s+(?!\d)|\*")
_MEMBER = re.compile(r"\A[\s$]*[a-zA-Z]\s*\\in(?![A-Za-z])")
_MARKED_LETTER = re.compile(r"\A[\s$]*(?:option|choice|answer)\s*\(?([A-H])\b", re.IGNORECASE)
_SEVERAL_LETTERS = re.compile(r"\A[\s$]*(?:\\text\{)?([A-Ha-h]{1,6})\}?[\s.)$]*\Z")


def grade(answer_text: str, gold: str, question: str = "") -> Grade:
    """Judges the final answer in `answer_text` by `gold`. Pure, deterministic; never raises, never evaluates text.

    CORRECT and INCORRECT say the two were compared. UNPARSABLE says that no answer was found, that it cannot be read,
    or that judging it would cost too much; the reason says which. `question` is read for its options only.
    """
    if len(answer_text) <= _GLANCED_CHARS:
        box = _PLAIN_BOX.fullmatch(answer_text)
        is_said = box is not None and not _DOUBT.search(answer_text)
        quick = _at_a_glance(box[1] if box is not None and is_said else answer_text, gold)
        if quick is not None:
            return quick
    found = find_answer(answer_text)
    if found.answer is None:
        return Grade(Verdict.UNPARSABLE, found.reason, path="extraction")
    if len(found.answer) > MAX_ANSWER_CHARS or len(gold) > MAX_ANSWER_CHARS:
        longest = max(len(found.answer), len(gold))
        return Grade(Verdict.UNPARSABLE, f"{longest} characters; at most {MAX_ANSWER_CHARS} are read", path="gate")
    asked = _LABEL.sub("", boxed(gold) or gold)
    question = question[-MAX_QUESTION_CHARS:]
    if len(found.answer) + len(asked) + len(question) <= _CACHED_CHARS:
        return _remembered(found.answer, asked, question)
    return _judge(found.answer, asked, question)


def _at_a_glance(told: str, asked: str) -> Grade | None:
    """The verdict on two plain numbers, or on the gold itself; None for anything else."""
    left, right = _PLAIN_NUMBER.fullmatch(told), _PLAIN_NUMBER.fullmatch(asked)
    if left is None or right is None:
        told = told.strip()
        is_gold = told == asked.strip() and _SAYS.search(told) is not None
        return Grade(Verdict.CORRECT, "identical", told, told, "identical") if is_gold else None
    pair = left[1], right[1]
    are_whole = "." not in pair[0] and "." not in pair[1]
    same = int(pair[0]) == int(pair[1]) if are_whole else same_scalar(number(pair[0]), number(pair[1])) is True
    return Grade(*_outcome(same, pair, "rational")[:2], *pair, "rational")


def _judge(told: str, asked: str, question: str) -> Grade:
    """The verdict on a final answer."""
    left, right = normalise(told), normalise(asked)
    verdict, reason, path = _compared(told, asked, question, (left, right))
    return Grade(verdict, reason, left, right, path)


_remembered = lru_cache(_CACHE_SIZE)(_judge)
_Outcome = tuple[Verdict, str, str]


def _compared(told: str, asked: str, question: str, normal: tuple[str, str]) -> _Outcome:
    if not normal[0]:
        return Verdict.UNPARSABLE, "the answer is empty", "extraction"
    if normal[0] == normal[1] or _squeezed(normal[0]) == _squeezed(normal[1]):
        return Verdict.CORRECT, "identical", "identical"
    parts = labelled_parts(normal[0]), labelled_parts(normal[1])
    if len(parts[0]) == len(parts[1]) > 1:
        grades = [_judge(*pair, question) for pair in zip(*parts, strict=True)]
        return _outcome(all(each.verdict is Verdict.CORRECT for each in grades), normal, "parts")
    for path, compare in () if max(map(len, parts)) > 1 else _TEXTUAL:
        same = compare(told, asked, question)
        if same is not None:
            return _outcome(same, normal, path)
    try:
        return _by_value(told, asked, question, normal)
    except CostError as error:
        return Verdict.UNPARSABLE, f"too costly: {error}", "gate"
    except RecursionError:
        return Verdict.UNPARSABLE, "too costly: nested too deep", "gate"


def _squeezed(text: str) -> str:
    r"""Without spaces, subscript signs and the marks of text: one spelling for "H_2O" and "\text{H2O}"."""
    for _ in range(3):
        text = _SPACING.sub(r"\1\2", text)
    return text


def _lettered(text: str, question: str) -> str:
    """`ac` as `A, C`, where the question has options."""
    known = options(question)
    match = (_SEVERAL_LETTERS.match(text) or _MARKED_LETTER.match(text)) if known else None
    return ", ".join(match[1].upper()) if match and set(match[1].upper()) <= known.keys() else text


def _by_choice(told: str, asked: str, question: str) -> bool | None:
    """Letters, and a letter against the content of its option."""
    told, asked = _lettered(told, question), _lettered(asked, question)
    letters = letter_of(told), letter_of(asked)
    if (letters[0] is None) != (letters[1] is None):
        content = option_of(told if letters[0] else asked, question)
        if content is not None:
            pair = (content, asked) if letters[0] else (told, content)
            return _judge(*pair, "").verdict is Verdict.CORRECT
    return same_choice(told, asked, question)


def _by_moment(told: str, asked: str, _: str) -> bool | None:
    return same_moment(told, asked)


_TEXTUAL: tuple[tuple[str, Callable[[str, str, str], bool | None]], ...] = (
    ("choice", _by_choice),
    ("moment", _by_moment),
)


def _outcome(same: bool, normal: tuple[str, str], path: str) -> _Outcome:  # noqa: FBT001 - an outcome, not a switch
    told, asked = map(_shown, normal)
    if same:
        return Verdict.CORRECT, f"{told} = {asked}", path
    return Verdict.INCORRECT, f"{told} is not {asked}", path


def _rounds_as_asked(answers: Sequence[Expression], golds: Sequence[Expression], question: str) -> bool:
    """Whether the two are equal at the decimal place to which the question asks to round."""
    half = places_asked(question)
    return half is not None and any(
        half_place(rounded) == half and rounds_to(exact, rounded)
        for answer in answers
        for gold in golds
        for rounded, exact in ((answer, gold), (gold, answer))
    )


def _by_value(told: str, asked: str, question: str, normal: tuple[str, str]) -> _Outcome:
    """By mathematics where both can be read, by words where they cannot."""
    (left, is_free), (right, is_any) = map(without_any_order, normal)
    answers, golds = _readings(left), _readings(right)
    if isinstance(answers, UnreadableError) or isinstance(golds, UnreadableError):
        worded = same_words(_MEMBER.sub("", told), _MEMBER.sub("", asked))
        if not worded and isinstance(answers, UnreadableError) and isinstance(golds, list):
            return Verdict.UNPARSABLE, f"{_shown(normal[0])} cannot be read: {answers}", "reading"
        return _outcome(worded is True, normal, "words")
    if contradicts(answers[0]):
        return Verdict.INCORRECT, f"{_shown(normal[0])} contradicts itself", "chain"
    if is_free or is_any:
        answers, golds = list(map(in_any_order, answers)), list(map(in_any_order, golds))
    same = _any_equivalent(answers, golds) or _rounds_as_asked(answers, golds, question)
    if same and _asides_differ(left, right, answers, golds):
        return _outcome(False, normal, "asides")  # noqa: FBT003 - the outcome
    if same and not governing(right) - governing(left):
        return _outcome(True, normal, "value")  # noqa: FBT003 - the outcome
    if same_words(_MEMBER.sub("", told), _MEMBER.sub("", asked)):
        return _outcome(True, normal, "words")  # noqa: FBT003 - the outcome
    if same is False:
        return _outcome(False, normal, "value")  # noqa: FBT003 - the outcome
    return Verdict.UNPARSABLE, f"{_shown(normal[0])} cannot be compared with {_shown(normal[1])}", "value"


def _asides_differ(told: str, asked: str, answers: Sequence[Expression], golds: Sequence[Expression]) -> bool:
    """Whether what stands beside two equal values makes them different."""
    measures_and_counts = (counts_things(told) and is_measure(golds[0])) or (
        counts_things(asked) and is_measure(answers[0])
    )
    return measures_and_counts or clash(told, asked) or _conditions_differ(told, asked)


def _conditions_differ(told: str, asked: str) -> bool:
    """Whether both hold under a condition on the same letter, and not on the same one: "9 at x=2", "9 at x=3"."""
    left, right = condition(told), condition(asked)
    if left is None or right is None or left[0] != right[0]:
        return False
    return left[1] != right[1] or _judge(left[2], right[2], "").verdict is not Verdict.CORRECT


def _readings(text: str) -> list[Expression] | UnreadableError:
    try:
        return readings(text)
    except UnreadableError as error:
        return error


def _any_equivalent(answers: Sequence[Expression], golds: Sequence[Expression]) -> bool | None:
    outcomes: list[bool | None] = []
    for answer in answers:
        for gold in golds:
            try:
                outcomes.append(equivalent(answer, gold))
            except UndefinedError:
                outcomes.append(False)
            if outcomes[-1]:
                return True
    return False if False in outcomes else None


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
