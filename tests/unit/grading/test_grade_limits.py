"""What the grader does with what cannot be read or would cost too much, and that it is the same every time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from retrograde.core.problem import Verdict
from retrograde.grading import grade
from retrograde.grading import grading as implementation

UNREADABLE = [
    "", "\\boxed{}", "\\boxed{17", "(", "3 +", "1 2 3", "\\frac{1}", "\\unknown{3}", "a\x00b", "))((", "of the",
    "\ud800", "\x00",
]  # fmt: skip
GOLDS = ["17", "x+1", "\\{1,2\\}", "2k\\pi, k\\in\\mathbb{Z}", "(1,2)", "x > 3", "yes"]
BIG = [
    "1000000000!", "7^{1234567890}", "9^{9^{9^9}}", "\\binom{10^9}{5}", "e^{10^{30}}", "\\sin(10^{1000})", "x^{10^9}",
    "2^{2^{2^{2^{2^2}}}}", "((1!)!)!" + "!" * 99, "\\sqrt[1000000]{" + "9" * 900 + "}", "10^{-10^{10}}", "1e9999",
    "2^{100000}", "(2^{9999})^{9999}", "C(1000000,500000)", "170!/169!", "\\lfloor 10^{40} x\\rfloor",
    "((((((x+1)^9)^9)^9)^9)^9)^9", "n\\equiv 1 \\pmod{" + "9" * 900 + "}", "9" * 990 + "." + "9" * 990,
]  # fmt: skip
LONG = [
    "(" * 3000, "-" * 3000 + "1", "a" * 10_000, "9" * 3000, "{" * 200 + "}" * 200, "\\frac{1}{" * 300, "1," * 1999,
    "1+" * 1900 + "1", "x^{" * 30 + "2" + "}" * 30, "and " * 900 + "1", "1 or " * 700 + "2", "(a) 1 " * 300,
    "x=1," * 500,
    "\\text{" * 600 + "}" * 600, "|" * 999, "5 m/s" * 300, "k" * 900 + "\\in\\mathbb{Z}", ";" * 3999,
    "1 to " * 900 + "2",
    "three hundred and " * 200, "a(b(" * 30 + "1" + "))" * 30, "\\sqrt" * 1500 + "2", "1:" * 500 + "2", "." * 3999,
    "\\overline{" * 300, "x>1, " * 300, "(1,2)," * 60 + "(1,2)", "-\\infty<x<" * 200 + "1", "\\pm" * 30 + "1",
    "(" + "\\pm 1," * 10 + "1)" * 10, "\\{" + ",".join(map(str, range(900))) + "\\}",
    "\\cup".join(f"({start},{start + 1})" for start in range(300)), "if x<0, " * 300,
    "1 if x<0, " * 100 + "2 otherwise",
    "1+" * 300 + "\\cdots+100", "so " * 900 + "1", "**a:** 1\n" * 400,
]  # fmt: skip
SLOW = [
    "\\sum_{k=1}^{2000}\\sum_{j=1}^{2000} kj", "\\int_0^{10^{20}} \\sin(x^2) dx", "\\sum_{k=1}^{\\infty} \\frac{1}{k}",
    "\\int_0^1 \\frac{1}{x} dx", "\\max(" + ",".join(f"x^{power}" for power in range(300)) + ")",
    "\\begin{vmatrix}" + "\\\\".join("&".join("x^9" for _ in range(6)) for _ in range(6)) + "\\end{vmatrix}",
]  # fmt: skip
HUGE = ["x" * 2_000_000, "\\boxed{" * 100_000, "so $" * 500_000, "the answer is " * 140_000, "**" * 1_000_000]
PRINTS_GRADES = """
from retrograde.grading import grade
for pair in (("2k+1, k in Z", "2n-1, n in Z"), ("A e^x + B", "C_1 e^x + C_2"), ("{3, 1, 2}", "{1, 2, 3}"),
             ("x^2 + y", "(x+1)^2"), ("Tom 5, Kim 6", "Kim 6, Tom 5"), ("x > 1, y < 2", "y < 2"),
             ("red, blue", "blue")):
    print(grade(*pair))
"""


@pytest.mark.parametrize("answer", UNREADABLE)
def test_what_cannot_be_read_is_unparsable_with_a_reason(answer: str) -> None:
    """No answer, or no mathematics, is unparsable, and the reason says why."""
    result = grade(answer, "17")
    assert result.verdict is Verdict.UNPARSABLE
    assert result.reason


@pytest.mark.parametrize("answer", [pytest.param(text, id=text[:30]) for text in BIG + LONG + SLOW + HUGE])
def test_bombs_are_never_correct(answer: str) -> None:
    """What would cost too much is refused, or found wrong without computing it, whatever the gold is."""
    verdicts = {grade(answer, gold).verdict for gold in GOLDS}
    assert verdicts <= {Verdict.UNPARSABLE, Verdict.INCORRECT}


@pytest.mark.parametrize("gold", [pytest.param(text, id=text[:30]) for text in BIG + LONG])
def test_a_bomb_as_gold_has_a_verdict(gold: str) -> None:
    """A gold that cannot be judged earns nobody a reward."""
    assert grade("3", gold).verdict in {Verdict.UNPARSABLE, Verdict.INCORRECT}


def test_an_identical_costly_answer_is_correct() -> None:
    """What is written like the gold is right, however large its value."""
    assert grade("\\boxed{7^{1234567890}}", "7^{1234567890}").verdict is Verdict.CORRECT


def test_verdicts_are_the_same_every_time() -> None:
    """Random points are drawn by a fixed seed: the same pair gives the same grade, judged anew."""
    grades = []
    for _ in range(3):
        implementation._remembered.cache_clear()
        grades.append(grade("x^2+2x+1", "(x+1)^2"))
    assert len(set(grades)) == 1


def test_grades_do_not_depend_on_the_order_of_sets() -> None:
    """Processes with different seeds of the hash give the same grades, reasons included."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINTS_GRADES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("Grade(") == PRINTS_GRADES.count('", "')


def test_long_answers_are_not_remembered() -> None:
    """The memory of judged pairs is bounded in number, and by the length of each."""
    information = implementation._remembered.cache_info()
    assert information.maxsize is not None
    before = information.currsize
    grade("\\boxed{" + "1 + " * 200 + "1}", "200")
    assert implementation._remembered.cache_info().currsize == before
