"""Multiple choice: letters, options, and when two answers name the same choice."""

from __future__ import annotations

import time

import pytest

from retrograde.grading.choices import content_of, letter_of, letters_of, option_of, options, same_choice

LETTERS = [
    ("B", "B"), ("(B)", "B"), ("\\textbf{(B)}", "B"), ("B.", "B"), ("B)", "B"), ("Option B", "B"), ("(B) 12", "B"),
    ("B: 12", "B"), ("\\text{B}", "B"), ("choice b", "B"), ("(b)", "B"), ("\\textbf{(B)}\\ 12", "B"),
    ("$\\textbf{(B)}\\ 12$", "B"), ("B is correct", "B"), ("The answer is B", "B"), ("\\(B\\)", "B"),
    ("**B.** 12", "B"), ("\\mathrm{(D)}", "D"), ("(D) $\\frac{1}{2}$", "D"), ("[C]", "C"), ("Option (C)", "C"),
    ("answer: D", "D"), ("The correct answer is (E).", "E"), ("C. Paris", "C"), ("(A) The first player", "A"),
    ("\\text{(C) } 5", "C"), ("\\boxed{B}", "B"), ("`B`", "B"), ('"B"', "B"), ("B is the correct answer", "B"),
    ("Option B is correct", "B"), ("Choice (D): 5", "D"), ("**(A)**", "A"), ("\\text{Option B}", "B"), ("B)12", "B"),
    ("\\textbf{(C) }x^2", "C"), ("(D)", "D"), ("option D: 7", "D"), ("The correct option is (C) 14.", "C"),
    ("\\textbf{B}", "B"), ("J", "J"),
]  # fmt: skip

NO_LETTERS = [
    "b", "C = 5", "(A, B)", "A triangle", "(x)", "(A) 3 or (B) 4", "A or B", "f(x)", "AB", "A B", "", "x", "12", "K",
    "a", "A and B are equal", "(a+b)", "\\angle A", "A_1", "A: 3, B: 4", "not B", "neither A nor B", "B or not B",
    "A circle", "I am", "e", "(AB)", "{A}", "A\\cup B", "A'", "E[X]",
]  # fmt: skip

SEVERAL = [
    ("A or B", "AB"), ("A, C", "AC"), ("(A) and (C)", "AC"), ("Both A and C", "AC"), ("A and C only", "AC"),
    ("B, A", "AB"), ("A, B, and D", "ABD"), ("A; B", "AB"), ("Options A and C", "AC"), ("A/C", "AC"),
    ("either A or B", "AB"),
]  # fmt: skip

QUESTIONS = [
    ("Which? (A) 3 (B) 4", {"A": "3", "B": "4"}),
    ("A. 3\nB. 4", {"A": "3", "B": "4"}),
    (
        "$\\textbf{(A)}\\ 3 \\qquad \\textbf{(B)}\\ 4 \\qquad \\textbf{(C)}\\ \\frac{1}{2}$",
        {"A": "3", "B": "4", "C": "\\frac{1}{2}"},
    ),
    ("A) red\nB) blue\nC) green", {"A": "red", "B": "blue", "C": "green"}),
    ("Which?\n\nA: x\nB: y", {"A": "x", "B": "y"}),
    ("Points (A) and others", {}),
    ("a) 3\nb) 4", {"A": "3", "B": "4"}),
    ("What? A. 3 B. 4 C. 5", {"A": "3", "B": "4", "C": "5"}),
    ("**A.** one\n**B.** two", {"A": "one", "B": "two"}),
    ("Lines (A) and (B) meet. Find x.\n(A) 1\n(B) 2\n(C) 3", {"A": "1", "B": "2", "C": "3"}),
    ("$(\\mathrm{A}) 1 \\quad (\\mathrm{B}) 2$", {"A": "1", "B": "2"}),
    ("$\\mathrm{(A)}\\ 1\\qquad\\mathrm{(B)}\\ 2$", {"A": "1", "B": "2"}),
    ("\\begin{align*}\\text{(A) }& 3\\\\\n\\text{(B) }& 4\\end{align*}", {"A": "3", "B": "4"}),
    ("Options:\nA. $x^2$\nB. $2x$\n\nThink step by step.", {"A": "$x^2$", "B": "$2x$"}),
    ("(a) Show. (b) Find x.", {"A": "Show.", "B": "Find x."}),
    ("- A: 3\n- B: 4", {"A": "3", "B": "4"}),
    ("\\textbf{(A)} 3 \\\\ \\textbf{(B)} 4 \\\\", {"A": "3", "B": "4"}),
    ("No options here", {}),
    ("", {}),
    ("Which?\n(A)\n3\n(B)\n4", {"A": "3", "B": "4"}),
    ("Let A. B. be", {}),
]

QUESTION = "How many? (A) 3 (B) 4 (C) $\\frac{1}{2}$ (D) Paris"

SAME = [
    ("B", "(B)"), ("4", "B"), ("$4$", "B"), ("(B) 4", "B"), ("B. 4", "(B)"), ("B", "4"), ("B, A", "A,B"),
    ("option b", "B"),
    ("paris", "D"), ("(D) Paris", "D"), ("(B) four", "B"), ("C) \\frac12", "C"), ("\\frac{1}{2}", "C"),
    ("A and B", "B and A"),
]  # fmt: skip

DIFFERENT = [
    ("A", "B"), ("3", "B"), ("(B) 3", "B"), ("(A) 4", "B"), ("(B) 5", "B"), ("A or B", "A"), ("A", "A or B"),
    ("B", "3"),
    ("(B) Paris", "B"), ("A, B, C", "A, B"), ("B", "(B) 3"), ("E", "A"),
]  # fmt: skip

LEFT_OPEN = [("5", "B"), ("x", "A"), ("0.5", "C"), ("b", "B"), ("not B", "B"), ("A triangle", "A"), ("", "A")]

WITHOUT_OPTIONS = [("12", "A", None), ("x", "A", None), ("B", "12", None), ("(B) 12", "B", True), ("A", "B", False)]


@pytest.mark.parametrize(("text", "letter"), LETTERS)
def test_a_choice_is_read_with_or_without_marks_and_content(text: str, letter: str) -> None:
    """Parentheses, full stops, bold, LaTeX, "option" and a content leave the letter that is named."""
    assert letter_of(text) == letter


@pytest.mark.parametrize("text", NO_LETTERS)
def test_what_only_holds_a_letter_is_no_choice(text: str) -> None:
    """A variable, a tuple, a name, a negation, several letters and an unmarked lower-case letter are no one choice."""
    assert letter_of(text) is None


@pytest.mark.parametrize(("text", "letters"), SEVERAL)
def test_several_letters_are_a_set(text: str, letters: str) -> None:
    """Letters parted by commas, "and" or "or" are the set of them."""
    assert letters_of(text) == frozenset(letters)


@pytest.mark.parametrize(("question", "offered"), QUESTIONS)
def test_the_options_of_a_question_are_read(question: str, offered: dict[str, str]) -> None:
    """Options are the last letters from A on that stand marked in order, each with what follows it."""
    assert options(question) == offered


def test_an_option_is_found_by_its_letter() -> None:
    """A letter names the content of its option; a letter without one names nothing."""
    assert [option_of(text, QUESTION) for text in ("C", "(A) 3", "E", "3")] == ["$\\frac{1}{2}$", "3", None, None]


def test_the_content_after_a_letter_is_told() -> None:
    """The content is what stands after the letter, or nothing."""
    assert [content_of(text) for text in ("(B) 12", "B. Paris", "(B)", "12")] == ["12", "Paris", None, None]


@pytest.mark.parametrize(("told", "asked"), SAME)
def test_a_letter_meets_itself_and_its_content(told: str, asked: str) -> None:
    """The letter, the letter with its content and the content alone are the same choice, in whatever marks."""
    assert same_choice(told, asked, QUESTION) is True


@pytest.mark.parametrize(("told", "asked"), DIFFERENT)
def test_another_choice_is_wrong(told: str, asked: str) -> None:
    """Another letter, more or fewer letters, another option's content, a letter that its content belies: all wrong."""
    assert same_choice(told, asked, QUESTION) is False


@pytest.mark.parametrize(("told", "asked"), LEFT_OPEN)
def test_a_content_that_is_no_option_by_its_text_is_left_open(told: str, asked: str) -> None:
    """What only its value could identify, and what is no choice at all, is for the caller to compare."""
    assert same_choice(told, asked, QUESTION) is None


@pytest.mark.parametrize(("told", "asked", "same"), WITHOUT_OPTIONS)
def test_without_options_a_letter_meets_letters_only(told: str, asked: str, *, same: bool | None) -> None:
    """A gold "A" may be a variable or a name where the question offers no options."""
    assert same_choice(told, asked) is same


@pytest.mark.parametrize("piece", ["(A) ", "A. ", "(A) (B) ", "\\textbf{(A)}", "A or ", "(", " ", "\\begin{", "$"])
def test_hostile_choices_cost_their_length(piece: str) -> None:
    """Two megabytes of any piece, as answer or as question, take no more than their length."""
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()
    assert same_choice(text, "A", text) is None
    same_choice(text[:1_999], text[:1_998], text)
    assert time.process_time() - began < 10
