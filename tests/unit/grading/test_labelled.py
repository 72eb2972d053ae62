"""The labelled pairs, and the tool that measures graders on them."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from retrograde.core.problem import Grade, Verdict
from tools.verifier_accuracy import (
    HARD,
    LABELLED,
    Judged,
    Pair,
    PairsError,
    Share,
    judge_safely,
    misses,
    ours,
    parser,
    read_pairs,
    report,
)

MIN_PAIRS = 700
MIN_RIGHT = 8
MIN_WRONG = 5
ALL_WRONG = {"reward hacks"}
RIGHT_RATIO = (0.5, 0.65)
MIN_HARD_PAIRS = 1_300
MIN_RECALL, MIN_HARD_RECALL = 0.985, 0.80
MAX_FALSE_ACCEPTS = 0.003  # of the wrong pairs of either set


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """The set."""
    return read_pairs(LABELLED)


@pytest.fixture(scope="module")
def hard() -> list[Pair]:
    """The hard set."""
    return read_pairs(HARD)


def accepted(pairs: list[Pair], *, right: bool) -> float:
    """Which part of the pairs with this label our grader calls correct."""
    verdicts = [ours(pair).verdict for pair in pairs if pair.right is right]
    return verdicts.count(Verdict.CORRECT) / len(verdicts)


def pair(*, right: bool, answer: str = "2", gold: str = "2") -> Pair:
    """A pair of the form "sums"."""
    return Pair(form="sums", answer=answer, gold=gold, right=right, source="pairs.jsonl:1")


def judged(*, right: bool, ours: Verdict, math_verify: Verdict) -> Judged:
    """A pair with verdicts."""
    return Judged(pair(right=right), Grade(ours, "why"), Grade(math_verify))


def test_right_answers_are_accepted(pairs: list[Pair], hard: list[Pair]) -> None:
    """Our grader accepts nearly all right answers of the set, and four in five of the hard ones."""
    assert accepted(pairs, right=True) >= MIN_RECALL
    assert accepted(hard, right=True) >= MIN_HARD_RECALL


def test_wrong_answers_are_not_accepted(pairs: list[Pair], hard: list[Pair]) -> None:
    """Of a thousand wrong answers our grader accepts three at most, in either set."""
    assert accepted(pairs, right=False) <= MAX_FALSE_ACCEPTS
    assert accepted(hard, right=False) <= MAX_FALSE_ACCEPTS


def test_no_pair_occurs_twice(pairs: list[Pair], hard: list[Pair]) -> None:
    """Answer, gold and question together occur once."""
    counted = Counter((pair.answer, pair.gold, pair.question) for pair in pairs + hard)
    assert [key for key, count in counted.items() if count > 1] == []


def test_every_form_has_right_and_wrong_pairs(pairs: list[Pair]) -> None:
    """A form shows what is right and what is wrong, save the form in which everything is wrong."""
    counted = Counter((pair.form, pair.right) for pair in pairs)
    forms = {pair.form for pair in pairs}
    assert {form for form in forms if counted[form, False] < MIN_WRONG} == set()
    assert {form for form in forms if counted[form, True] < MIN_RIGHT} == ALL_WRONG


def test_the_set_is_large_and_mixed(pairs: list[Pair]) -> None:
    """Accepting everything, or nothing, earns no good figure."""
    ratio = sum(pair.right for pair in pairs) / len(pairs)
    assert len(pairs) >= MIN_PAIRS
    assert RIGHT_RATIO[0] <= ratio <= RIGHT_RATIO[1]


def test_the_hard_set_has_questions(hard: list[Pair]) -> None:
    """It is large, in forms of its own, and each pair says what was asked."""
    assert len(hard) >= MIN_HARD_PAIRS
    assert [pair.source for pair in hard if not (pair.form.startswith("hard: ") and pair.question.strip())] == []


def test_every_pair_says_something(pairs: list[Pair], hard: list[Pair]) -> None:
    """Forms, answers and golds are not blank, and no wrong answer is its gold."""
    both = pairs + hard
    blank = [pair.source for pair in both if not (pair.form.strip() and pair.answer.strip() and pair.gold.strip())]
    same = [pair.source for pair in both if not pair.right and pair.answer == pair.gold]
    assert blank + same == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "pairs.jsonl:2: not JSON"),
        ("[]", "pairs.jsonl:2: list instead of an object"),
        ('{"form": "sums", "answer": "2", "gold": "2"}', "pairs.jsonl:2: field 'right' is missing"),
        ('{"form": "sums", "answer": "2", "gold": "2", "right": "yes"}', "pairs.jsonl:2: right is 'yes'; write a bool"),
        ('{"form": "sums", "answer": 2, "gold": "2", "right": true}', "pairs.jsonl:2: answer is 2; write a str"),
        ('{"form": "sums", "answer": "2", "gold": "2", "right": true, "hint": ""}', "pairs.jsonl:2: unknown field"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """The error names file, line and fix."""
    path = tmp_path / "pairs.jsonl"
    path.write_text(f'{{"form": "sums", "answer": "2", "gold": "2", "right": true}}\n{line}\n', encoding="utf-8")
    with pytest.raises(PairsError) as raised:
        read_pairs(path)
    assert message in str(raised.value)


@pytest.mark.parametrize("text", [None, "", "\n\n"])
def test_a_file_without_pairs_is_named(tmp_path: Path, text: str | None) -> None:
    """A missing file and an empty one are errors that name it."""
    path = tmp_path / "pairs.jsonl"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(PairsError, match=r"pairs\.jsonl: .*one JSON object per line"):
        read_pairs(path)


def test_a_line_separator_inside_a_string_is_no_line_end(tmp_path: Path) -> None:
    """Only a line feed ends a pair."""
    path = tmp_path / "pairs.jsonl"
    fields = {"form": "sums", "answer": "2\u2028", "gold": "2", "right": True}
    path.write_text(json.dumps(fields, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [pair.answer for pair in read_pairs(path)] == ["2\u2028"]


def test_the_report_counts_by_form() -> None:
    """Recall is over right pairs, false accepts over wrong ones; an error is a miss where the pair is right."""
    found = report(
        [
            judged(right=True, ours=Verdict.CORRECT, math_verify=Verdict.INCORRECT),
            judged(right=True, ours=Verdict.ERROR, math_verify=Verdict.CORRECT),
            judged(right=False, ours=Verdict.TIMEOUT, math_verify=Verdict.CORRECT),
        ]
    )
    assert found["forms"] == {
        "sums": {
            "right": 2,
            "wrong": 1,
            "ours": {"recall": 0.5, "false_accepts": 0.0},
            "math_verify": {"recall": 0.5, "false_accepts": 1.0},
        }
    }
    assert [(miss["right"], miss["verdict"], miss["reason"]) for miss in found["disagreements"]] == [
        (True, "error", "why")
    ]


def test_a_false_accept_is_a_miss() -> None:
    """A wrong answer that ours calls correct is listed."""
    wrong = judged(right=False, ours=Verdict.CORRECT, math_verify=Verdict.INCORRECT)
    assert misses([wrong]) == [wrong]


@pytest.mark.parametrize(
    ("share", "interval"),
    [
        (Share(0, 0), (0.0, 1.0)),
        (Share(0, 10), (0.0, 0.2775)),
        (Share(5, 10), (0.2366, 0.7634)),
        (Share(10, 10), (0.7225, 1.0)),
    ],
)
def test_intervals_are_wilsons(share: Share, interval: tuple[float, float]) -> None:
    """At the ends of the scale the interval stays inside it and has a width."""
    assert share.interval == pytest.approx(interval, abs=5e-5)


def test_a_grader_that_raises_or_hangs_gives_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair cannot end the run."""

    def raises(_pair: Pair) -> Grade:
        raise KeyError("x")

    def hangs(_pair: Pair) -> Grade:
        time.sleep(60)
        return Grade(Verdict.CORRECT)

    monkeypatch.setattr("tools.verifier_accuracy.LIMIT_SECONDS", 0.05)
    assert judge_safely(raises, pair(right=True)) == Grade(Verdict.ERROR, "KeyError: 'x'")
    assert judge_safely(hangs, pair(right=True)).verdict is Verdict.TIMEOUT


def test_pairs_may_be_given_several_times() -> None:
    """Every file is kept, in order."""
    assert parser().parse_args(["--pairs", "a", "--pairs", "b"]).pairs == [Path("a"), Path("b")]
