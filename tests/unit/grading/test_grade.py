"""The verdict on pairs of answer and gold, by form."""

from __future__ import annotations

import pytest

from retrograde.core.problem import Verdict
from retrograde.grading import grade

RIGHT = {
    "integers": [("17", "17"), ("17.", "17"), ("-3", "-3"), ("+3", "3"), ("**17**", "17"), ("1024", "2^{10}")],
    "decimals": [("0.5", ".5"), ("17.0", "17"), ("-0.25", "-\\frac14"), ("1.2e3", "1200"), ("3.14159", "3.14")],
    "fractions": [("1/2", "\\frac12"), ("\\dfrac{2}{4}", "1/2"), ("\\frac{1}{2}", "0.5"), ("-\\frac{1}{2}", "-1/2")],
    "mixed": [("3 1/2", "7/2"), ("3\\frac{1}{2}", "3.5"), ("3 \\frac12", "7/2"), ("½", "0.5"), ("2½", "2.5")],
    "percent": [("50%", "1/2"), ("50\\%", "50"), ("0.5", "50%"), ("50", "50%")],
    "thousands": [("1,234", "1234"), ("1{,}234{,}567", "1234567"), ("10 000", "10000"), ("12,345.5", "12345.5")],
    "currency": [("\\$5", "5"), ("$5.00", "5"), ("5 dollars", "\\$5"), ("€12", "12")],
    "units": [
        ("5 \\text{ cm}^2", "5"), ("5 m", "5"), ("10 km/h", "10"), ("90^\\circ", "90"), ("17 eggs", "17"),
        ("\\boxed{17 \\text{ eggs}}", "17"), ("There are 17 eggs.", "17"), ("20\\mathrm{~kg}", "20"),
    ],
    "roots and powers": [
        ("\\sqrt{8}", "2\\sqrt{2}"), ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}"), ("\\sqrt[3]{27}", "3"),
        ("2^{10}", "1024"), ("8^{1/3}", "2"), ("sqrt(2)/2", "\\frac{1}{\\sqrt{2}}"), ("1.41421356", "\\sqrt{2}"),
    ],
    "functions": [
        ("5!", "120"),
        ("\\binom{5}{2}", "10"), ("\\log_2 8", "3"), ("\\sin(\\pi/6)", "1/2"), ("3\\pi/4", "\\frac{3}{4}\\pi"),
    ],
    "expressions": [("x^2+2x+1", "(x+1)^2"), ("2(x+y)", "2x + 2y"), ("\\frac{x^2-1}{x-1}", "x+1")],
    "sets and tuples": [
        ("\\{1,2\\}", "\\{2, 1\\}"), ("1 and 2", "2, 1"), ("(1, 2)", "(1,2)"),
        ("\\left(\\frac12, 3\\right)", "(0.5,3)"),
        ("\\pm 3", "3, -3"), ("x = 1, x = 2".replace("x = ", ""), "\\{1, 2\\}"), ("[1, 2)", "[1,2)"),
        ("(-\\infty, 2) \\cup (3, \\infty)", "(3,\\infty)\\cup(-\\infty,2)"),
    ],
    "equations": [("x = 3", "3"), ("3", "x=3"), ("y = 2x+1", "2y = 4x+2"), ("20 - 3 = 17", "17")],
    "inequalities": [("x \\le 3", "3 \\ge x"), ("1 < x", "x > 1")],
    "text": [("Tuesday", "tuesday"), ("\\text{(B)}", "B"), ("Yes.", "yes"), ("\\text{The blue one}", "blue one")],
}  # fmt: skip

WRONG = [
    ("18", "17"), ("0.333", "1/3"), ("2,1", "(1,2)"), ("(1,2)", "[1,2]"), ("\\{1,2,3\\}", "\\{1,2\\}"), ("1,1", "1"),
    ("3 or 4", "3"), ("1=2=3=5", "5"), ("5 = 3 + 3", "6"), ("x", "y"), ("2x", "2"), ("\\sqrt{2}", "1.5"), ("1/0", "3"),
    ("Monday", "Tuesday"), ("A", "B"), ("0.5%", "50"), ("x < 3", "x > 3"), ("y = 2x", "y = 3x"), ("-17", "17"),
    ("x^2", "x^3"), ("\\sqrt{x^2}", "x"), ("17, 18", "17"), ("170", "17"), ("1.41", "\\sqrt{2}"),
]  # fmt: skip

UNREADABLE = [
    "",
    "\\boxed{}",
    "\\boxed{17",
    "(",
    "3 +",
    "1 2 3",
    "\\frac{1}",
    "\\unknown{3}",
    "a\x00b",
    "))((",
    "of the",
]

COSTLY = [
    "1000000000!", "7^{1234567890}", "9^{9^{9^9}}", "(" * 3000, "-" * 3000 + "1", "a" * 10_000, "9" * 3000,
    "\\binom{10^9}{5}", "e^{10^{30}}", "\\sin(10^{1000})", "{" * 200 + "}" * 200, "2^{2^{2^{2^{2^2}}}}",
    "((1!)!)!" + "!" * 99,
    "\\sqrt[1000000]{" + "9" * 900 + "}", "10^{-10^{10}}", "\\frac{1}{" * 300, "x^{10^9}",
]  # fmt: skip


@pytest.mark.parametrize(("answer", "gold"), [pair for pairs in RIGHT.values() for pair in pairs])
def test_right_answers_are_correct(answer: str, gold: str) -> None:
    """An answer that means the gold is correct, in whatever form it is written."""
    assert grade(answer, gold).verdict is Verdict.CORRECT


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_wrong_answers_are_incorrect(answer: str, gold: str) -> None:
    """An answer that can be read and means something else is incorrect, not merely unparsable."""
    assert grade(answer, gold).verdict is Verdict.INCORRECT


@pytest.mark.parametrize("answer", UNREADABLE)
def test_what_cannot_be_read_is_unparsable_with_a_reason(answer: str) -> None:
    """No answer, or no mathematics, is unparsable, and the reason says why."""
    result = grade(answer, "17")
    assert result.verdict is Verdict.UNPARSABLE
    assert result.reason


@pytest.mark.parametrize("answer", COSTLY)
def test_costly_answers_are_refused_before_they_are_computed(answer: str) -> None:
    """A bomb is unparsable, or wrong where its value is known without computing it: it is never computed."""
    assert grade(answer, "17").verdict in {Verdict.UNPARSABLE, Verdict.INCORRECT}


def test_an_identical_costly_answer_is_correct() -> None:
    """What is written like the gold is right, however large its value."""
    assert grade("\\boxed{7^{1234567890}}", "7^{1234567890}").verdict is Verdict.CORRECT


def test_the_grade_tells_what_was_compared() -> None:
    """Reason and answer show the two forms that were compared."""
    result = grade("So it is \\boxed{ 3\\dfrac12 \\text{ cm} }.", "4")
    assert (result.verdict, result.answer) == (Verdict.INCORRECT, "3\\frac12 \\text{ cm}")
    assert result.reason == "3\\frac12 \\text{ cm} is not 4"


def test_every_right_answer_equals_itself() -> None:
    """grade(x, x) is correct for every answer and gold of the table."""
    for pairs in RIGHT.values():
        for text in {text for pair in pairs for text in pair}:
            assert grade(text, text).verdict is Verdict.CORRECT, text


def test_verdicts_are_the_same_every_time() -> None:
    """Random points are drawn by a fixed seed: the same pair gives the same grade."""
    assert len({grade("x^2+2x+1", "(x+1)^2") for _ in range(5)}) == 1
