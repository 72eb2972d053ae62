r"""The grader's specification, by form: what each means, with right and wrong answers. Costs: test_grade_limits.py.

A pair is (answer, gold). Right ones are correct; wrong ones must not be, and most are read and found incorrect.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from retrograde.core.problem import Verdict
from retrograde.grading import grade

Pair = tuple[str, str]


@dataclass(frozen=True)
class Form:
    """What holds for a form, and the pairs that prove it."""

    sentence: str
    right: list[Pair]
    wrong: list[Pair]


NUMBERS = {
    "integers": Form(
        "Written in any way, exactly the value.",
        [("17.", "17"), ("+3", "3"), ("**17**", "17"), ("1024", "2^{10}"), ("007", "7"), ("-0", "0")],
        [("18", "17"), ("-17", "17"), ("170", "17"), ("1.7", "17"), ("17!", "17")],
    ),
    "decimals": Form(
        "Zeros at the ends say nothing.",
        [("0.5", ".5"), ("17.0", "17"), ("-0.25", "-\\frac14"), ("2.50", "2.5")],
        [("0.05", "0.5"), ("2.5", "2.05"), ("-0.5", "0.5")],
    ),
    "fractions": Form(
        "Unreduced is right.",
        [("1/2", "\\frac12"), ("\\dfrac{2}{4}", "1/2"), ("\\frac{1}{2}", "0.5"), ("-\\frac{1}{2}", "\\frac{1}{-2}")],
        [("2/1", "1/2"), ("1/3", "1/2"), ("1/0", "3"), ("0.333", "1/3")],
    ),
    "mixed numbers": Form(
        "A whole number beside a proper fraction is their sum.",
        [("3 1/2", "7/2"), ("3\\frac{1}{2}", "3.5"), ("2½", "2.5"), ("-1\\frac12", "-1.5")],
        [("3 1/2", "3/2"), ("-3 1/2", "-5/2"), ("3\\frac12", "31/2")],
    ),
    "percent": Form(
        "50% as gold is met by 0.5 and by 50; a plain number by its percentage.",
        [("50%", "1/2"), ("50\\%", "50"), ("0.5", "50%"), ("50", "50%"), ("fifty percent", "50\\%")],
        [("50", "0.5"), ("0.5%", "50"), ("5%", "50%"), ("5000%", "50%"), ("50% more", "50% less")],
    ),
    "scientific notation": Form(
        "A power of ten beside a number is a factor.",
        [("1.2e3", "1200"), ("3\\times10^{8}", "300000000"), ("2.5 \\cdot 10^{-3}", "0.0025"),
         ("5 million", "5000000")],
        [("3\\times10^{7}", "3\\times10^{8}"), ("2.5\\times 10^{3}", "2.5\\times 10^{-3}")],
    ),
    "thousands": Form(
        "Separators of thousands are read as such, where a list would be odd.",
        [("1,234", "1234"), ("1{,}234{,}567", "1234567"), ("10 000", "10000"), ("12,345.5", "12345.5")],
        [("1,234", "1.234"), ("1,23", "123"), ("1 2 3", "123")],
    ),
    "number words": Form(
        "Numbers may be told in words, one of them.",
        [("twenty-one", "21"), ("three quarters", "3/4"), ("a dozen", "12"), ("two and a half", "2.5")],
        [("twenty", "21"), ("one of them is nine, so there are eight", "9"), ("two or three", "2")],
    ),
    "roots and powers": Form(
        "Equal by value, however they are simplified.",
        [("\\sqrt{8}", "2\\sqrt{2}"), ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt{3}}"),
         ("sqrt(2)/2", "\\frac{1}{\\sqrt2}"),
         ("8^{1/3}", "2"), ("\\sqrt[3]{27}", "3")],
        [("\\sqrt{8}", "3\\sqrt{2}"), ("\\sqrt{2}", "1.5"), ("2^{-3}", "8")],
    ),
    "functions": Form(
        "Factorials, binomials, logarithms and angles are computed.",
        [("5!", "120"), ("\\binom{5}{2}", "10"), ("C(6,2)", "15"), ("\\log_2 8", "3"), ("\\sin(\\pi/6)", "1/2"),
         ("3\\pi/4", "\\frac{3}{4}\\pi"), ("\\lfloor 3.7 \\rfloor", "3"), ("\\gcd(12, 18)", "6")],
        [("5!", "5"), ("C(6,2)", "12"), ("\\log_2 8", "\\log_3 8"), ("\\sin(\\pi/6)", "\\cos(\\pi/6)"),
         ("3.14", "\\pi")],
    ),
    "complex numbers": Form(
        "i is the imaginary unit.",
        [("3+4i", "4i+3"), ("e^{i\\pi}", "-1"), ("\\frac{1}{i}", "-i"), ("(1+i)^2", "2i")],
        [("1+i", "1-i"), ("3+4i", "5"), ("2i", "2")],
    ),
    "bases": Form(
        "A numeral is its digits and its base; the gold's base may be left out.",
        [("1011_2", "1011_{2}"), ("1011", "1011_2"), ("1011 (base 2)", "1011_2"), ("0b101", "101_2")],
        [("1011_2", "1011_3"), ("1010_2", "1011_2"), ("11", "1011_2")],
    ),
    "ratios": Form(
        "A ratio of two is a quotient; of three, its parts up to a factor.",
        [("3:4", "6:8"), ("3 to 4", "3:4"), ("1:2:3", "2:4:6"), ("3/4", "3:4")],
        [("3:5", "5:3"), ("1:2:3", "1:3:2"), ("3", "3:1:2")],
    ),
    "sums with dots": Form(
        "An arithmetic sum may be told by its ends; a list that goes on is not one that ends.",
        [("1+2+3+\\cdots+100", "5050"), ("2+4+\\cdots+100", "2550")],
        [("1+2+3+\\cdots+100", "5000"), ("n=1,3,5,\\ldots", "1,3,5"), ("1+2+4+\\cdots+64", "127")],
    ),
}  # fmt: skip

QUANTITIES = {
    "currency": Form(
        "A sign of currency may be missing, but is no other currency.",
        [("\\$5", "5"), ("$5.00", "5"), ("5 dollars", "\\$5"), ("500 cents", "\\$5")],
        [("5 cents", "\\$5"), ("5 dollars", "5 euros"), ("a loss of \\$5", "a profit of \\$5")],
    ),
    "units": Form(
        "Units convert; one side may leave them out; a unit is no other unit and no thing that is counted.",
        [("5 \\text{ cm}^2", "5"), ("10 km/h", "10"), ("1.5 \\text{ hours}", "90 minutes"), ("72 km/h", "20 m/s"),
         ("10 kg per cubic meter", "10 kg/m^3"), ("1 hour and 30 minutes", "90 min"), ("2.5\\times10^{3} kg", "2500")],
        [("5 cm", "5 m"), ("60 km/h", "60 m/s"), ("5 cm", "5 apples"), ("12 square feet", "12 cubic feet"),
         ("5 m east", "5 m west"), ("15 m", "15 m by 30 m"), ("1.5 hours", "1 hour 50 minutes")],
    ),
    "degrees": Form(
        "A degree sign may be missing; beside radians it is converted; temperatures have scales.",
        [("90^\\circ", "90"), ("180^\\circ", "\\pi"), ("30 degrees Celsius", "30°C")],
        [("30^\\circ", "\\pi/3"), ("30 degrees Celsius", "30 degrees Fahrenheit")],
    ),
    "words around numbers": Form(
        "Words may stand around a value, unless they make another value of it or deny it.",
        [("There are 17 eggs.", "17"), ("exactly 17", "17"), ("17 (attained at x = 1)", "17"), ("the number 17", "17")],
        [("twice 5", "5"), ("the square of 5", "5"), ("half of 10", "10"), ("not 5", "5"), ("maybe 5", "5"),
         ("anything but 5", "5"), ("at least 5", "at most 5"), ("5 years older", "5 years younger")],
    ),
    "conditions": Form(
        "A condition may be left out, but not be another one.",
        [("9 at x=3", "9, attained at x=3"), ("9", "9 at x=3"), ("x=2 when a=1", "x=2")],
        [("9 at x=-3", "9, attained at x=3"), ("x=2 when a=1", "x=2 when a=3"), ("n^2 for even n", "n^2 for odd n")],
    ),
}  # fmt: skip

FORMULAS = {
    "expressions": Form(
        "Equal where both are defined.",
        [("x^2+2x+1", "(x+1)^2"), ("2(x+y)", "2x + 2y"), ("\\frac{x^2-1}{x-1}", "x+1"), ("n!/(n-1)!", "n"),
         ("sinx", "\\sin x")],
        [("x^2", "x^3"), ("\\sqrt{x^2}", "x"), ("\\sin 2x", "2\\sin x"), ("a+b", "a-b"), ("x", "y"), ("2x", "2")],
    ),
    "letters": Form(
        "Coefficients of functions, parameters of points, constants of integration may be renamed; no other letter.",
        [("Ce^{2x}", "Ke^{2x}"), ("f(x)=ax+b", "f(x)=cx+d"), ("(t,2t)", "(s,2s)"), ("f(t)=t^2", "f(x)=x^2"),
         ("f(x)=kx where k>0", "f(x)=cx where c>0"),
         ("x^2+C", "x^2+7+C")],
        [("2ab", "2ac"), ("E=mc^2", "E=mk^2"), ("n(n+1)/2", "k(k+1)/2"), ("m=3", "n=3"), ("f(x)=c", "f(x)=x"),
         ("f(x)=kx where k<0", "f(x)=cx where c>0"),
         ("AB=5", "AC=5"),
         ("x^2+C", "x^2"), ("x^2+C", "x^3+C")],
    ),
    "equations": Form(
        "x = 3 is 3; two equations may be scaled and rearranged; an equation yet to be solved is no value.",
        [("x = 3", "3"), ("3", "x=3"), ("y = 2x+1", "2y = 4x+2"), ("20 - 3 = 17", "17"), ("\\sin x = 1/2", "1/2")],
        [("y = 2x", "y = 3x"), ("y=2x", "x=2y"), ("2x=6", "6"), ("1=2=3=5", "5"), ("5 = 3 + 3", "6"),
         ("P(A)=0.3", "P(B)=0.3")],
    ),
    "piecewise": Form(
        "Pieces are compared where they meet, in an environment or in words.",
        [("\\begin{cases}x&x>0\\\\-x&x\\le0\\end{cases}", "|x|"), ("-x if x<0, x otherwise", "|x|"),
         ("n/2 if n is even, 3n+1 if n is odd", "\\begin{cases}n/2&n\\text{ even}\\\\3n+1&n\\text{ odd}\\end{cases}")],
        [("-x if x<0, 2x otherwise", "|x|"), ("\\begin{cases}-x&x>0\\\\x&x\\le0\\end{cases}", "|x|")],
    ),
    "sums and integrals": Form(
        "Sums, products and integrals with limits are computed.",
        [("\\sum_{k=1}^{4} k^2", "30"), ("\\int_0^1 x^2 dx", "1/3"), ("\\sum_{k=0}^{\\infty} \\frac{1}{2^k}", "2")],
        [("\\sum_{k=1}^{4} k^2", "29"), ("\\int_0^1 x^2 dx", "1/2")],
    ),
}  # fmt: skip

COLLECTIONS = {
    "sets and lists": Form(
        "No order, each item once, nothing left out and nothing added.",
        [("\\{1,2\\}", "\\{2, 1\\}"), ("1 and 2", "2, 1"), ("x=1 \\text{ or } x=2", "\\{1, 2\\}"),
         ("\\{1,1,2\\}", "\\{1,2\\}")],
        [("\\{1,2,3\\}", "\\{1,2\\}"), ("17, 18", "17"), ("3 or 4", "3"), ("1,1", "1"), ("5 (or 6)", "5"),
         ("\\{\\{1\\}\\}", "\\{1\\}")],
    ),
    "tuples": Form(
        "Order counts; brackets of tuples do not.",
        [("(1, 2)", "(1,2)"), ("\\left(\\frac12, 3\\right)", "(0.5,3)"), ("\\langle 1,2,3\\rangle", "(1,2,3)"),
         ("the origin", "(0,0)")],
        [("2,1", "(1,2)"), ("(1,2),(3,4)", "(1,2),(4,3)"), ("\\{(1,2),(3,4)\\}", "\\{1,2,3,4\\}"), ("(2,3)", "2/3")],
    ),
    "records": Form(
        "Values with names go by name, also where a word names them; without, by the order of the letters.",
        [("x=1, y=2", "y=2, x=1"), ("x=1, y=2", "(1,2)"), ("Tom has 6 and Kim has 18", "Kim 18, Tom 6"),
         ("x_1=2, x_2=3", "x_1=3, x_2=2"),
         ("\\det A=13, \\operatorname{tr}A=8", "\\operatorname{tr}=8, \\det=13")],
        [("x=1, y=2", "x=2, y=1"), ("x=1, y=2", "(2,1)"), ("Tom 5, Kim 6", "Tom 6, Kim 5"),
         ("a_1=3, a_2=4", "a_1=4, a_2=3"),
         ("d_A = 10, d_B = 24", "A: 24, B: 10"), ("quotient 3, remainder 2", "quotient 2, remainder 3")],
    ),
    "labelled parts": Form(
        "Parts (a), (b) are compared one by one.",
        [("(a) 3 (b) 5", "(a) 3; (b) 5"), ("\\text{(a) No. (b) Four.}", "(a) no; (b) 4")],
        [("(a) 3 (b) 5", "(a) 5 (b) 3"), ("(a) 3", "(a) 3 (b) 5")],
    ),
    "plus or minus": Form(
        "Both signs are told, together or apart.",
        [("\\pm 3", "3, -3"), ("1\\pm\\sqrt2", "1+\\sqrt{2}, 1-\\sqrt{2}"), ("(\\pm1, 2)", "(1,2),(-1,2)")],
        [("\\pm 3", "3"), ("3", "\\pm 3"), ("1\\pm\\sqrt2", "1+\\sqrt2")],
    ),
    "intervals": Form(
        "Ends and brackets count.",
        [("[1, 2)", "[1,2)"), ("(-\\infty, 2) \\cup (3, \\infty)", "(3,\\infty)\\cup(-\\infty,2)"),
         ("x<2 \\text{ or } x>3", "(-\\infty,2)\\cup(3,\\infty)")],
        [("(1,2)", "[1,2]"), ("(0,1]", "(0,1)"), ("(1,2)\\cup(3,4)", "(1,2)\\cup(3,5)")],
    ),
    "inequalities": Form(
        "An inequality is the set it describes.",
        [("x \\le 3", "3 \\ge x"), ("1 < x", "(1,\\infty)"), ("\\{x | x>3\\}", "x>3"),
         ("x \\ne 2", "\\mathbb{R}\\setminus\\{2\\}")],
        [("x < 3", "x > 3"), ("x>0", "x\\ge 0"), ("x>2", "2"), ("1<x<2", "1<x\\le 2")],
    ),
    "families": Form(
        "Families that run through the same values are the same, whatever the parameter is called and where it starts.",
        [("2k+1, k\\in\\mathbb{Z}", "2n-1, n\\in\\mathbb{Z}"), ("n\\equiv 1\\pmod 4", "4k+1, k\\in\\mathbb{Z}"),
         ("x=\\frac{\\pi}{2}+k\\pi, k\\in\\mathbb{Z}", "\\frac{\\pi}{2}(2n+1), n\\in\\mathbb{Z}"),
         ("all odd integers", "2k+1, k\\in\\mathbb{Z}")],
        [("k\\pi, k\\in\\mathbb{Z}", "2k\\pi, k\\in\\mathbb{Z}"), ("2k, k\\in\\mathbb{N}", "2k, k\\in\\mathbb{Z}"),
         ("n=3k", "n=3k+1"),
         ("all positive integers", "all integers"), ("multiples of 3", "multiples of 6")],
    ),
    "regions with names": Form(
        "All reals, no solution and the like are what they are called.",
        [("all real numbers", "(-\\infty,\\infty)"), ("\\mathbb{R}", "x\\in\\mathbb{R}"), ("no solution", "\\emptyset"),
         ("all real numbers except 2", "(-\\infty,2)\\cup(2,\\infty)"), ("It holds for all real x.", "\\mathbb{R}")],
        [("all reals except 2", "all reals"), ("no solution", "0"), ("\\emptyset", "\\{0\\}"),
         ("\\infty", "-\\infty"), ("undefined", "0")],
    ),
    "vectors and matrices": Form(
        "Entry by entry; a column or a combination of unit vectors meets a tuple.",
        [("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"), ("2\\mathbf{i}-3\\mathbf{j}", "(2,-3)"),
         ("2\\begin{pmatrix}1&0\\\\0&1\\end{pmatrix}", "\\begin{bmatrix}2&0\\\\0&2\\end{bmatrix}")],
        [("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&3\\\\2&4\\end{pmatrix}"),
         ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(2,1)")],
    ),
}  # fmt: skip

ROUNDED = {
    "rounded golds": Form(
        "A gold of two places is met by what rounds to it, a shorter one is exact; an irrational one needs 6 digits.",
        [
            ("1/3", "0.333"),
            ("\\pi", "3.14"),
            ("3.14159", "3.14"),
            ("2.675", "2.68"),
            ("1.41421356", "\\sqrt{2}"),
            ("\\sqrt{2}", "1.4"),
        ],
        [("0.333", "1/3"), ("1/3", "0.3"), ("2.46", "2.5"), ("1.41", "\\sqrt{2}"), ("3.15", "3.14"), ("2.685", "2.68")],
    ),
}
WORDS = {
    "yes and no": Form(
        "Yes and no may give a reason, but not take it back.",
        [("Yes.", "yes"), ("It cannot be done", "No, because the sum is odd"),
         ("True. Every such x works.", "Yes, it must."),
         ("Impossible: the total, $55$, is odd.", "It cannot be done.")],
        [("yes", "no"), ("It is impossible: parity", "Yes, it can"), ("Yes. Actually no.", "Yes"),
         ("Not necessarily", "Yes"), ("yes, 5", "yes, 6"),
         ("the answer is", "yes"), ("It is: Bob", "yes")],
    ),
    "names and phrases": Form(
        "The same content words.",
        [("Tuesday", "tuesday"), ("\\text{The blue one}", "blue one"), ("the $y$-axis", "y\\text{-axis}"),
         ("It falls on a Friday.", "Friday"),
         ("Ann is right, because $91=7\\cdot13$.", "Ann")],
        [("Monday", "Tuesday"), ("Ann is wrong", "Ann"), ("Bob is right", "Ann"),
         ("fail to reject $H_0$", "reject $H_0$")],
    ),
    "chemical formulas": Form(
        "Subscripts and spaces of a formula do not matter.",
        [("\\mathrm{H_2O}", "H2O"), ("\\mathrm{CH_4+2O_2\\to CO_2+2H_2O}", "CH4 + 2 O2 -> CO2 + 2 H2O")],
        [("H_2O_2", "H2O"), ("CO", "CO2"), ("1s^2 2s^2", "1s^2 2s^1")],
    ),
    "choices": Form("A letter is that letter.", [("\\text{(B)}", "B"), ("b) 4", "(B)")], [("A", "B"), ("c", "(C)"),
    ("(A) or (B)", "A")]),
}  # fmt: skip

FORMS = {**NUMBERS, **ROUNDED, **QUANTITIES, **FORMULAS, **COLLECTIONS, **WORDS}
RIGHT = [pytest.param(*pair, id=f"{name}: {pair}") for name, form in FORMS.items() for pair in form.right]
WRONG = [pytest.param(*pair, id=f"{name}: {pair}") for name, form in FORMS.items() for pair in form.wrong]


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_right_answers_are_correct(answer: str, gold: str) -> None:
    """An answer that means the gold is correct, in whatever form it is written."""
    assert grade(answer, gold).verdict is Verdict.CORRECT


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_wrong_answers_are_never_correct(answer: str, gold: str) -> None:
    """An answer that means something else is not correct, and the reason says why."""
    result = grade(answer, gold)
    assert result.verdict in {Verdict.INCORRECT, Verdict.UNPARSABLE}
    assert result.reason


@pytest.mark.parametrize(
    ("answer", "gold", "question", "verdict"),
    [
        ("1.41", "\\sqrt{2}", "Round to two decimal places.", Verdict.CORRECT),
        ("1.4", "\\sqrt{2}", "Round to two decimal places.", Verdict.INCORRECT),
        ("1.42", "\\sqrt{2}", "Round to two decimal places.", Verdict.INCORRECT),
        ("1/3", "0.3", "Give it to the nearest tenth.", Verdict.CORRECT),
        ("1/3", "0.3", "", Verdict.INCORRECT),
        ("53", "D", "Which is prime? A) 21 B) 39 C) 51 D) 53", Verdict.CORRECT),
        ("51", "D", "Which is prime? A) 21 B) 39 C) 51 D) 53", Verdict.INCORRECT),
    ],
)
def test_the_question_gives_places_and_options(answer: str, gold: str, question: str, verdict: Verdict) -> None:
    """Where the question asks to round, or offers options, that is what the answer may do or name."""
    assert grade(answer, gold, question).verdict is verdict


def test_every_right_answer_equals_itself() -> None:
    """grade(x, x) is correct for every answer and gold of the forms."""
    texts = {text for form in FORMS.values() for pair in form.right for text in pair}
    assert [text for text in sorted(texts) if grade(text, text).verdict is not Verdict.CORRECT] == []


def test_the_grade_tells_what_was_compared() -> None:
    """Reason and answer show the two forms that were compared."""
    result = grade("So it is \\boxed{ 3\\dfrac12 \\text{ cm} }.", "4")
    assert (result.verdict, result.answer) == (Verdict.INCORRECT, "3\\frac12 \\text{ cm}")
    assert result.reason == "3\\frac12 \\text{ cm} is not 4"


@pytest.mark.parametrize(
    ("answer", "gold"), [("F", "\u211d"), ("A", "\\mathbb{R}"), ("3", "\\mathbb{R}"), ("x", "(1, 2)")]
)
def test_a_letter_is_no_set_of_reals(answer: str, gold: str) -> None:
    """A single letter or number against a set is incorrect, found at once."""
    assert grade(answer, gold).verdict is Verdict.INCORRECT


def test_a_pole_in_a_condition_is_no_exception() -> None:
    """A factorial at a negative whole number inside an inequality has no value, and the answer is not correct."""
    assert grade("nd x!0>1and <4", "1").verdict is not Verdict.CORRECT
