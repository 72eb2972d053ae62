"""`grade(text, gold)`: the verdict on a completion or a bare answer, why, and the answer it was passed on."""

from __future__ import annotations

from retrograde.core.problem import Grade, Verdict
from retrograde.grading.answer import extract_answer
from retrograde.grading.equivalence import contradicts, equivalent
from retrograde.grading.exact import UndefinedError
from retrograde.grading.expression import CostError, Expression, UnreadableError
from retrograde.grading.normal import join_thousands, normalise, words_of
from retrograde.grading.parser import parse

MAX_ANSWER_CHARS = 4_000
_SHOWN_CHARS = 80
_UNCLOSED = "\\boxed{"


def grade(answer_text: str, gold: str) -> Grade:
    """Judges the final answer in `answer_text` by `gold`. Pure, deterministic; never raises, never evaluates text.

    CORRECT and INCORRECT say the two were compared. UNPARSABLE says that no answer was found, that it cannot be read,
    or that judging it would cost too much; the reason says which.
    """
    answer = extract_answer(answer_text)
    if answer is None:
        return Grade(Verdict.UNPARSABLE, "no answer found")
    if _UNCLOSED in answer:
        return Grade(Verdict.UNPARSABLE, "the box is never closed")
    if len(answer) > MAX_ANSWER_CHARS:
        return Grade(Verdict.UNPARSABLE, f"answer of {len(answer)} characters; at most {MAX_ANSWER_CHARS} are read")
    told, asked = normalise(answer), normalise(gold)
    verdict, reason = _judge(told, asked)
    return Grade(verdict, reason, told)


def _judge(told: str, asked: str) -> tuple[Verdict, str]:
    if not told:
        return Verdict.UNPARSABLE, "the answer is empty"
    if told == asked:
        return Verdict.CORRECT, "identical"
    try:
        return _judge_values(told, asked)
    except CostError as error:
        return Verdict.UNPARSABLE, f"too costly: {error}"
    except UndefinedError as error:
        return Verdict.INCORRECT, str(error)


def _judge_values(told: str, asked: str) -> tuple[Verdict, str]:
    golds = _readings(asked)
    if not golds:
        return _judge_words(told, asked)
    answers = _readings(told)
    if not answers:
        return _unread(told, asked)
    if contradicts(answers[0]):
        return Verdict.INCORRECT, f"{_shown(told)} contradicts itself"
    outcomes = [equivalent(answer, gold) for answer in answers for gold in golds]
    if True in outcomes:
        return Verdict.CORRECT, f"{_shown(told)} = {_shown(asked)}"
    if False in outcomes:
        return Verdict.INCORRECT, f"{_shown(told)} is not {_shown(asked)}"
    return Verdict.UNPARSABLE, f"{_shown(told)} cannot be compared with {_shown(asked)}"


def _readings(text: str) -> list[Expression]:
    """How `text` can be read: with commas as thousands separators, and as separators of items."""
    joined = join_thousands(text)
    found = []
    for reading in (joined, text) if joined != text else (text,):
        try:
            found.append(parse(reading))
        except UnreadableError:
            continue
    return found


def _judge_words(told: str, asked: str) -> tuple[Verdict, str]:
    if words_of(told) == words_of(asked) != "":
        return Verdict.CORRECT, "the same words"
    return Verdict.INCORRECT, f"{_shown(told)} is not {_shown(asked)}"


def _unread(told: str, asked: str) -> tuple[Verdict, str]:
    if words_of(told) == words_of(asked) != "":
        return Verdict.CORRECT, "the same words"
    try:
        parse(told)
    except UnreadableError as error:
        return Verdict.UNPARSABLE, f"{_shown(told)} cannot be read: {error}"
    return Verdict.UNPARSABLE, f"{_shown(told)} cannot be read"


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
