"""When two answers in words are the same, and which number a text spells."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from retrograde.grading.words import same_words, words_to_number

SAME = [
    ("YES", "Yes"), ("\\text{Yes}", "yes"), ("**Yes**", "Yes"), ("Yes, it is.", "Yes"),
    ("Yes, because 7 is prime.", "yes"), ("true", "True"), ("False.", "false"), ("Impossible", "No"),
    ("It is not possible", "impossible"), ("No solutions", "no solution"),
    ("There are no real solutions.", "no solution"), ("The equation has no solution", "No solution"),
    ("None", "No solutions"), ("the empty set", "\\emptyset"), ("\\text{DNE}", "does not exist"),
    ("The limit does not exist.", "DNE"), ("no such function exists", "does not exist"),
    ("There are no such functions", "none"), ("all reals", "\\mathbb{R}"), ("x \\in \\mathbb{R}", "all real numbers"),
    ("All real values of x", "all real numbers"), ("every real number", "\\mathbb R"),
    ("\\text{All real numbers}", "(-\\infty, \\infty)"), ("infinity", "\\infty"),
    ("Infinitely many solutions", "infinitely many"), ("negative infinity", "-\\infty"),
    ("The first player", "first player"), ("first player wins", "the first player"),
    ("The first player has a winning strategy", "First player"), ("Alice wins", "Alice"),
    ("Alice always wins.", "Alice"), ("The winner is Alice", "Alice"), ("\\text{Alice}", "Alice"),
    ("Alice has a winning strategy", "Alice"), ("a parabola", "parabola"), ("It is a parabola", "Parabola"),
    ("Hyperbola", "hyperbola."), ("grey", "gray"), ("Centre", "center"), ("an isosceles triangle", "isosceles"),
    ("\\text{even function}", "even"), ("The function is odd.", "odd"), ("f is odd", "odd"),
    ("It is an odd function", "odd"), ("Neither", "neither even nor odd"), ("line segment", "Line Segments"),
    ("rectangles", "rectangle"), ("Bob and Alice", "Alice and Bob"),
    ("Alice, Bob, and Carol", "Carol, Bob and Alice"), ("2nd player", "second player"), ("Player one", "Player 1"),
    ("cannot be determined", "Cannot be determined."), ("not enough information", "Not enough information"),
    ("non-negative", "nonnegative"), ("Increasing", "increasing (on all of R)"), ("\\text{prime}", "prime"),
    ("the circle (with center O)", "circle"), ("Thursday", "thursday"), ("It's true", "yes"),
    ("The statement is false.", "False"), ("Wednesday", "the day is Wednesday"), ("\\mathrm{Infinity}", "\\infty"),
    ('"Paris"', "Paris"), ("Paris.", "Paris"), ("the city is Paris", "Paris"), ("Both", "both"),
    ("I and III only", "I and III only"), ("Statement II", "statement II"), ("no, it isn't", "no"),
    ("No, there is no such integer", "no"), ("No such integer exists", "no"), ("Undefined", "\\text{undefined}"),
    ("the limit is undefined", "DNE"), ("Right triangle", "right-angled triangle"),
    ("The first player, Alice, wins", "Alice"), ("No, it is not possible", "No"),
    ("isosceles right triangle", "right isosceles triangle"), ("Yes, since 5 > 3", "yes"),
    ("The first player wins because of symmetry.", "first player"), ("the blue one", "blue"), ("colour", "color"),
]  # fmt: skip

DIFFERENT = [
    ("Yes or no", "yes"), ("No", "yes"), ("not true", "true"), ("not false", "false"), ("cannot be determined", "no"),
    ("Bob beats Alice", "Alice beats Bob"), ("Alice loses", "Alice"), ("Alice and Bob", "Alice"),
    ("Alice", "Alice and Bob"), ("Maybe Alice", "Alice"), ("either Alice or Bob", "Alice"),
    ("the second player", "the first player"), ("first player", "second player"), ("Player 2", "Player 1"),
    ("acute triangle", "obtuse triangle"), ("right triangle", "isosceles right triangle"),
    ("isosceles", "isosceles right"), ("not isosceles", "isosceles"), ("non-isosceles", "isosceles"),
    ("scalene", "isosceles"), ("even", "odd"), ("neither", "both"), ("prime", "composite"), ("non-prime", "prime"),
    ("all integers", "all real numbers"), ("all positive integers", "all integers"),
    ("\\mathbb{Z}", "all real numbers"), ("infinitely many", "no solution"),
    ("no solution", "infinitely many solutions"), ("negative infinity", "infinity"), ("-\\infty", "infinity"),
    ("undefined", "infinity"), ("none", "no"), ("all real numbers except 0", "all real numbers"),
    ("increasing", "decreasing"), ("strictly increasing", "increasing"), ("Tuesday", "Monday"), ("red", "blue"),
    ("dark blue", "blue"), ("Only Alice", "Alice and Bob"), ("No one", "no"), ("nobody", "Alice"),
    ("All of them", "none of them"), ("None of the above", "no solution"), ("some real numbers", "all real numbers"),
    ("at least one", "at most one"), ("greater than", "less than"), ("Team A", "A team"), ("converges", "diverges"),
    ("It does not converge", "converges"), ("converges absolutely", "converges conditionally"),
    ("sometimes", "always"), ("Yes, no", "yes"), ("yes but no", "yes"), ("No, yes", "no"),
    ("The winner is not Alice", "Alice"), ("Alice is not the winner", "Alice"), ("It isn't Alice", "Alice"),
    ("Anyone but Alice", "Alice"), ("Alice, Bob", "Alice"), ("Bob, Alice, Carol", "Alice, Bob, Carol"),
    ("It is even, not odd", "odd"), ("The triangle is not right", "right"), ("The opposite of even", "even"),
    ("an even number", "odd number"), ("hyperbola or ellipse", "ellipse"), ("a circle", "an ellipse"),
    ("north", "south"), ("line segment AB", "line segment CD"), ("circle with radius 3", "circle with radius 4"),
    ("circle with center 3 and radius 4", "circle with center 4 and radius 3"), ("Yes if n is even", "yes"),
    ("not all", "all"), ("the empty set or R", "empty set"), ("Unknown", "undefined"),
    ("There is a solution", "There is no solution"), ("no positive solutions exist except 1", "no solutions"),
    ("false", "true"), ("the statement is not always true", "true"), ("correct", "incorrect"),
    ("Not possible", "possible"), ("wrong", "right"), ("heads", "tails"),
    ("Alice wins unless Bob moves first", "Alice"), ("if Alice then Bob", "Bob"),
    ("the first player does not win", "first player"), ("The first player never wins", "first player"),
    ("first player loses", "first player"), ("Infinity does not exist", "infinity"), ("Alice's sister", "Alice"),
    ("Alice Smith", "Alice Jones"), ("Dog bites man", "Man bites dog"), ("odd or even", "odd"), ("left", "right"),
    ("clockwise", "counterclockwise"), ("counter-clockwise", "clockwise"), ("irrational", "rational"),
    ("not rational", "rational"), ("the number is rational", "irrational"), ("No real solutions", "no"),
    ("The sum is even", "The product is even"), ("The loser is Alice", "Alice"),
    ("The first player is Alice", "The second player is Alice"), ("Alice is the shortest", "Alice"),
    ("It is not Alice but Bob", "Alice"),
]  # fmt: skip

NO_WORDS = [
    ("5", "yes"), ("no solution", "0"), ("\\mathbb{R}", "(-\\infty, \\infty)"), ("\\varnothing", "\\{\\}"),
    ("12 apples", "12"), ("twelve", "twelve"), ("ab", "ba"), ("x^2", "x"), ("5 cm", "5 m"), ("", ""),
    ("even", "\\frac{1}{2}"), ("sin", "cos"), ("true only for n = 1", "true"), ("AB", "ABC"),
    ("three hours", "3 hours"),
]  # fmt: skip

NUMBERS = [
    ("twelve", "12"), ("Twenty-one", "21"), ("one hundred and five", "105"), ("a dozen", "12"), ("two dozen", "24"),
    ("third", "3"), ("3rd", "3"), ("one half", "1/2"), ("half", "1/2"), ("three quarters", "3/4"), ("a third", "1/3"),
    ("two and a half", "5/2"), ("two thousand twenty-five", "2025"), ("minus three", "-3"), ("twenty-first", "21"),
    ("three point one four", "3.14"), ("one million two hundred thousand", "1200000"), ("zero", "0"),
    ("twelve hundred", "1200"), ("one twentieth", "1/20"), ("twenty third", "23"), ("a hundred", "100"),
    ("one and three quarters", "7/4"), ("forty-two.", "42"),
]  # fmt: skip

NO_NUMBERS = ["", "a", "and", "twelve apples", "two three", "one two", "hundred", "12", "point", "one and", "x"]


@pytest.mark.parametrize(("told", "asked"), SAME)
def test_the_same_in_other_words_is_right(told: str, asked: str) -> None:
    """Case, articles, plural, spelling, order of adjectives and a spare sentence around it do not change a meaning."""
    assert same_words(told, asked) is True


@pytest.mark.parametrize(("told", "asked"), SAME)
def test_the_same_goes_both_ways(told: str, asked: str) -> None:
    """Where an answer means the gold, the gold means the answer."""
    assert same_words(asked, told) is True


@pytest.mark.parametrize(("told", "asked"), DIFFERENT)
def test_other_words_are_wrong(told: str, asked: str) -> None:
    """Negation, doubt, choice, qualifier, another name and another order of who does what are never ignored."""
    assert same_words(told, asked) is False


@pytest.mark.parametrize(("told", "asked"), DIFFERENT)
def test_no_wrong_answer_is_right_with_the_sides_changed(told: str, asked: str) -> None:
    """A pair that differs is not the same the other way round either."""
    assert same_words(asked, told) is not True


@pytest.mark.parametrize(("told", "asked"), NO_WORDS)
def test_what_is_no_words_is_left_to_mathematics(told: str, asked: str) -> None:
    """Where either side is numbers, signs or units, words have no say."""
    assert same_words(told, asked) is None


@pytest.mark.parametrize(("text", "number"), NUMBERS)
def test_numbers_in_words_are_read(text: str, number: str) -> None:
    """Cardinals, ordinals, dozens, decimals and fractions in words have their value."""
    assert words_to_number(text) == Fraction(number)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_other_words_are_no_number(text: str) -> None:
    """A text that is not wholly a number in words has no value."""
    assert words_to_number(text) is None


@pytest.mark.parametrize("piece", ["a", "(", "not ", "\\text{", "one ", "hundred and ", "the x is ", "no ", ",", " "])
def test_hostile_words_are_refused_by_their_length(piece: str) -> None:
    """Two megabytes of any piece are no words and no number, at once."""
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()
    assert same_words(text, "yes") is None
    assert same_words(text[:1_999], "yes") is not True
    assert words_to_number(text) is None
    assert time.process_time() - began < 10
