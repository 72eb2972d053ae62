"""Laws that hold for every expression, however it is spelled: equal is correct, another value never is."""

from __future__ import annotations

from expression_algebra import differ
from expression_strategies import (
    collections,
    everything,
    inequalities,
    intervals,
    measures,
    perturbed,
    real_scalars,
    rewritten,
    scalars,
    sets,
    styles,
    tuples,
    unions,
)
from expressions import Node, Style, spell
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from retrograde.core.problem import Verdict
from retrograde.grading import grade

OTHER_BRACKETS = {"[": "(", "(": "[", "]": ")", ")": "]"}
MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
FRAGMENTS = (
    *"{ } ( ) [ ] | ^ _ & \\ $ % ! , ; . : = < + - * / 1 0 23 1e9 x pi i e sin and or cm".split(),  # noqa: SIM905
    *"\\frac \\sqrt \\boxed \\left \\right \\text \\cup \\pm \\{ \\} \\\\ \\le \\log_ \\binom \\,".split(),  # noqa: SIM905
    *"\\begin{pmatrix} \\end{pmatrix} \\infty \\overline \\sum_ \\int \u221a \u00b2 \u222a \u00b0".split(),  # noqa: SIM905
    *("answer is", "\n", " "),
)


def verdict(answer: str, gold: str) -> Verdict:
    """Of the answer in a box."""
    return grade(f"\\boxed{{{answer}}}", gold).verdict


def moved(node: Node, source: st.DataObject) -> Node:
    """The same items in another order."""
    return Node(node.operation, tuple(source.draw(st.permutations(node.parts))), node.text)


@settings(max_examples=400)
@given(everything, styles)
def test_every_answer_is_itself(node: Node, style: Style) -> None:
    """An answer spelled as the gold is, is correct."""
    assert verdict(spell(node, style), spell(node, style)) is Verdict.CORRECT


@settings(max_examples=500)
@given(scalars, styles, styles)
def test_spelling_does_not_matter_to_numbers_and_formulas(node: Node, told: Style, asked: Style) -> None:
    r"""\frac or /, \cdot or nothing, a root or a power of 1/2, spaces and brackets: one expression."""
    assert verdict(spell(node, told), spell(node, asked)) is Verdict.CORRECT


@settings(max_examples=400)
@given(collections, styles, styles)
def test_spelling_does_not_matter_to_collections(node: Node, told: Style, asked: Style) -> None:
    """Sets, tuples, intervals, unions, matrices, equations, inequalities and quantities likewise."""
    assert verdict(spell(node, told), spell(node, asked)) is Verdict.CORRECT


@settings(max_examples=500)
@given(rewritten(real_scalars), styles, styles)
def test_algebra_keeps_an_answer(pair: tuple[Node, Node], told: Style, asked: Style) -> None:
    """Commuted, distributed, with 0 added or 1 multiplied, 1 as sin^2 + cos^2: still correct, from either side."""
    node, changed = pair
    assert verdict(spell(changed, told), spell(node, asked)) is Verdict.CORRECT
    assert verdict(spell(node, told), spell(changed, asked)) is Verdict.CORRECT


@settings(max_examples=500)
@given(perturbed(scalars), styles, styles)
def test_another_value_is_never_correct(pair: tuple[Node, Node], told: Style, asked: Style) -> None:
    """One number changed, and by mpmath's word the value too: never correct."""
    node, changed = pair
    assert verdict(spell(changed, told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=400)
@given(perturbed(collections), styles, styles)
def test_another_item_is_never_correct(pair: tuple[Node, Node], told: Style, asked: Style) -> None:
    """One number of a set, tuple, interval, union, matrix, equation, inequality or quantity changed: never correct."""
    node, changed = pair
    assert verdict(spell(changed, told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=200)
@given(sets, styles, styles, st.data())
def test_sets_have_no_order(node: Node, told: Style, asked: Style, source: st.DataObject) -> None:
    """A set's items may come in any order, and as a bare list."""
    changed = moved(node, source)
    assert verdict(spell(changed, told), spell(node, asked)) is Verdict.CORRECT
    assert verdict(spell(Node("list", changed.parts), told), spell(node, asked)) is Verdict.CORRECT


@settings(max_examples=200)
@given(sets, styles, styles, st.data())
def test_a_set_needs_all_its_items(node: Node, told: Style, asked: Style, source: st.DataObject) -> None:
    """A set with one item less is not the set, from either side."""
    left_out = source.draw(st.integers(0, len(node.parts) - 1))
    smaller = Node("set", node.parts[:left_out] + node.parts[left_out + 1 :])
    assert verdict(spell(smaller, told), spell(node, asked)) is not Verdict.CORRECT
    assert verdict(spell(node, told), spell(smaller, asked)) is not Verdict.CORRECT


@settings(max_examples=200)
@given(tuples, styles, styles, st.data())
def test_tuples_have_an_order(node: Node, told: Style, asked: Style, source: st.DataObject) -> None:
    """A tuple in another order is never correct."""
    changed = moved(node, source)
    assume(differ(node, changed))
    assert verdict(spell(changed, told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=200)
@given(intervals, styles, styles, st.integers(0, 1))
def test_brackets_of_intervals_count(node: Node, told: Style, asked: Style, end: int) -> None:
    """An interval with one end open that was closed, or closed that was open, is never correct."""
    brackets = "".join(OTHER_BRACKETS[bracket] if n == end else bracket for n, bracket in enumerate(node.text))
    changed = Node("interval", node.parts, brackets)
    assert verdict(spell(changed, told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=200)
@given(unions, styles, styles)
def test_unions_have_no_order(node: Node, told: Style, asked: Style) -> None:
    """The parts of a union may come in any order; one part alone is not the union."""
    swapped = Node("union", node.parts[::-1])
    assert verdict(spell(swapped, told), spell(node, asked)) is Verdict.CORRECT
    assert verdict(spell(node.parts[0], told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=200)
@given(inequalities, styles, styles)
def test_inequalities_may_be_mirrored_only_whole(node: Node, told: Style, asked: Style) -> None:
    """3 > x is x < 3; x > 3 is not."""
    mirrored = Node("inequality", node.parts[::-1], MIRRORED[node.text])
    assert verdict(spell(mirrored, told), spell(node, asked)) is Verdict.CORRECT
    turned = Node("inequality", node.parts, MIRRORED[node.text])
    assert verdict(spell(turned, told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=200)
@given(measures, styles, styles)
def test_another_unit_is_never_correct(node: Node, told: Style, asked: Style) -> None:
    """The same number of another unit of measure is another quantity, unless it is 0."""
    assume(float(node.parts[0].text) != 0)
    other = {"cm": "m", "kg": "g", "hours": "minutes"}[node.text]
    assert verdict(spell(Node("quantity", node.parts, other), told), spell(node, asked)) is not Verdict.CORRECT


@settings(max_examples=500)
@given(st.text(max_size=60), st.text(max_size=30))
@example("\ud800", "\x00")
def test_any_text_has_a_verdict(answer: str, gold: str) -> None:
    """No text makes the grader raise, or answer ERROR."""
    assert grade(answer, gold).verdict is not Verdict.ERROR


@settings(max_examples=500)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=14), st.lists(st.sampled_from(FRAGMENTS), max_size=8))
def test_broken_mathematics_has_a_verdict(answer: list[str], gold: list[str]) -> None:
    """Pieces of LaTeX in any order: a verdict, and never ERROR."""
    told, asked = "".join(answer), "".join(gold)
    assert {grade(told, asked).verdict, verdict(told, asked), verdict(told, "2")}.isdisjoint({Verdict.ERROR})


@settings(max_examples=300)
@given(everything, styles, st.data())
def test_a_slip_of_the_pen_has_a_verdict(node: Node, style: Style, source: st.DataObject) -> None:
    """An expression with a piece taken out or put in is graded, and never ERROR."""
    text = spell(node, style)
    start = source.draw(st.integers(0, len(text)))
    end = source.draw(st.integers(start, min(start + 3, len(text))))
    slipped = text[:start] + source.draw(st.sampled_from(("", *FRAGMENTS))) + text[end:]
    assert verdict(slipped, text) is not Verdict.ERROR
    assert verdict(text, slipped) is not Verdict.ERROR
