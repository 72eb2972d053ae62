"""Every invariant, broken once, is caught by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from sums_task import DOUBT, SUMS, Sums, grown, stop, ten_nodes

from retrograde.core.figures import foreign_numbers, missing_numbers, numbers
from retrograde.core.invariants import Reason, Violation, check_solution
from retrograde.core.problem import Problem
from retrograde.core.rewrite import rewrite_by_template
from retrograde.core.settings import RewriteSettings
from retrograde.core.shapes import answer_phrase
from retrograde.core.solution import Move, MoveKind, SearchTrace, Sentence, SentenceKind, Solution

STEP, BACK = MoveKind.STEP, MoveKind.BACKTRACK


def trace_of(*nodes: int, terminals: tuple[int, ...]) -> SearchTrace:
    """Moves by node: a step to `n`, a return to `-n`; 0 is a restart."""
    return SearchTrace("key", tuple(Move(STEP if node > 0 else BACK, abs(node)) for node in nodes), terminals)


SEARCH = trace_of(6, 7, 0, 1, 2, 3, -1, 4, 5, terminals=(7, 3, 5))


def sound() -> Solution:
    return rewrite_by_template(ten_nodes(), SEARCH, SUMS, RewriteSettings(method="template"))


def reasons(solution: Solution) -> set[Reason]:
    return {violation.reason for violation in check_solution(solution, ten_nodes(), SUMS)}


def altered(position: int, change: Callable[[Sentence], Sentence]) -> Solution:
    sentences = list(sound().sentences)
    sentences[position] = change(sentences[position])
    return replace(sound(), sentences=tuple(sentences))


def with_text(position: int, text: str) -> Solution:
    return altered(position, lambda sentence: replace(sentence, text=text))


def test_sound_solution_breaks_nothing() -> None:
    """The unaltered solution, which the cases below each break once, is sound."""
    assert check_solution(sound(), ten_nodes(), SUMS) == []


@pytest.mark.parametrize(
    "trace",
    [
        trace_of(4, 5, terminals=(5,)),
        trace_of(6, 7, -1, 4, 5, terminals=(7, 5)),
        trace_of(1, -1, 4, 5, terminals=(5,)),
        trace_of(1, 99, terminals=(5,)),
        trace_of(1, 2, 3, terminals=(3,)),
        trace_of(1, 4, terminals=()),
        trace_of(1, 4, 5, terminals=(3, 5)),
        trace_of(terminals=()),
    ],
    ids=[
        "step to a grandchild",
        "return to no ancestor",
        "return to itself",
        "no such node",
        "ends wrong",
        "ends open",
        "terminals not told",
        "empty",
    ],
)
def test_trace_that_is_no_walk_is_caught(trace: SearchTrace) -> None:
    """A trace that does not lead, by children and ancestors, to a right terminal is no walk."""
    assert reasons(replace(sound(), trace=trace)) == {Reason.NOT_A_WALK}


def test_walk_that_tells_a_node_twice_is_caught() -> None:
    """Telling a node again is caught, except after a restart."""
    twice = trace_of(1, 2, -1, 2, 3, -1, 4, 5, terminals=(3, 5))
    restarted = trace_of(1, 2, 3, 0, 1, 4, 5, terminals=(3, 5))
    assert reasons(replace(sound(), trace=twice)) == {Reason.NODE_TOLD_TWICE}
    again = rewrite_by_template(ten_nodes(), restarted, SUMS, RewriteSettings())
    assert reasons(again) == set()


@pytest.mark.parametrize(
    "sentences",
    [
        sound().sentences[:-1],
        sound().sentences[1:],
        (*sound().sentences[:4], *sound().sentences[5:]),
        (*sound().sentences, sound().sentences[-1]),
        (),
    ],
    ids=["last step missing", "first step missing", "a step left out", "last step twice", "nothing told"],
)
def test_sentences_that_do_not_tell_the_walk_are_caught(sentences: tuple[Sentence, ...]) -> None:
    """Steps and returns must be the trace's moves, one by one and in order."""
    assert reasons(replace(sound(), sentences=sentences)) == {Reason.OUT_OF_ORDER}


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (altered(2, lambda doubt: replace(doubt, node=6)), Reason.OUT_OF_ORDER),
        (altered(0, lambda step: replace(step, on_path=True)), Reason.MISLABELLED_BRANCH),
        (altered(4, lambda step: replace(step, on_path=False)), Reason.MISLABELLED_BRANCH),
        (with_text(2, "Hmm.\n"), Reason.ODD_PHRASE),
        (altered(2, lambda doubt: replace(doubt, kind=SentenceKind.REASSURANCE)), Reason.ODD_PHRASE),
        (altered(2, lambda doubt: replace(doubt, kind=SentenceKind.ANSWER)), Reason.ODD_PHRASE),
        (with_text(8, "Let's go back to where we had 7.\n"), Reason.FALSE_RETURN),
        (with_text(8, "Let's go back.\n"), Reason.FALSE_RETURN),
        (with_text(4, "We add 4 and get 4.\n"), Reason.FALSE_RETURN),
        (with_text(5, "+5 = 9, not 8\n"), Reason.FOREIGN_NUMBER),
        (with_text(5, "+5 = ?\n"), Reason.MISSING_NUMBER),
        (with_text(5, "+5 = 9, so \\boxed{9}\n"), Reason.STRAY_BOX),
        (with_text(5, " "), Reason.EMPTY_STEP),
        (with_text(10, "stop at 10\n"), Reason.NO_FINAL_BOX),
        (with_text(10, "stop: \\boxed{0}\n"), Reason.NOT_CORRECT),
    ],
)
def test_broken_sentence_is_caught(broken: Solution, expected: Reason) -> None:
    """A single sentence that speaks falsely, of the wrong node, or out of shape is named by its reason."""
    assert expected in reasons(broken)


def test_return_told_inside_a_step_is_caught() -> None:
    """A return that is no move of the walk is counted against it, even if it names a real state."""
    assert Reason.FALSE_RETURN in reasons(with_text(10, "Let's go back to where we had 10.\nstop: \\boxed{10}\n"))


def test_returns_the_task_does_not_find_are_caught() -> None:
    """The task's own reading of the text must find every return of the walk, and all of them real."""

    class Blind(Sums):
        def returns(self, problem: Problem, text: str) -> tuple[int, int]:
            return 1, 1

    found = check_solution(sound(), ten_nodes(), Blind())
    assert found == [Violation(Reason.FALSE_RETURN, detail="the text tells 1 returns, 1 real; 2 made")]


def test_answer_before_the_end_is_caught() -> None:
    """A wrong branch's answer is never boxed in a sentence of its own."""
    sentences = list(sound().sentences)
    sentences.insert(2, Sentence(SentenceKind.ANSWER, answer_phrase("7"), 7))
    assert reasons(replace(sound(), sentences=tuple(sentences))) == {Reason.ODD_PHRASE}


def test_reassurance_on_a_wrong_branch_is_caught() -> None:
    """Only right steps may be called correct so far."""
    sentences = list(sound().sentences)
    sentences.insert(1, Sentence(SentenceKind.REASSURANCE, SUMS.phrases.reassurance, 6))
    assert reasons(replace(sound(), sentences=tuple(sentences))) == {Reason.ODD_PHRASE}


def test_repeated_wrong_answer_is_caught() -> None:
    """Two wrong terminals of one answer may not stand in one solution."""
    tree = grown([0, 0, 2, 0], [f"{stop(7)}\n", "+7 = 7\n", f"{stop(7)}\n", f"{stop(10)}\n"])
    trace = trace_of(1, 0, 2, 3, 0, 4, terminals=(1, 3, 4))
    solution = rewrite_by_template(tree, trace, SUMS, RewriteSettings())
    assert check_solution(solution, tree, SUMS) == [Violation(Reason.REPEATED_WRONG_ANSWER, detail="7")]


def test_violation_says_where_and_what() -> None:
    """A violation names its sentence and the offending numbers."""
    found = check_solution(with_text(5, "+5 = 9 or 8\n"), ten_nodes(), SUMS)
    assert found == [Violation(Reason.FOREIGN_NUMBER, 5, "8")]


def test_doubt_is_the_tasks_own() -> None:
    """The default doubt is the paper's."""
    assert DOUBT == "But wait, are we solving the problem correctly so far? Hmm...\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 * 7 = 21", {3, 7, 21}),
        ("-3, 3.0 and 003", {3}),
        ("1,234.50 dollars", {Decimal("1234.5")}),
        ("1{,}234 or 1,\\!234", {1234}),
        ("numbers 3, 7,8", {3, 7, 8}),
        ("1,2345", {1, 2345}),
        ("\\frac{1}{2} of x_2", {1, 2}),
        ("none", set()),
    ],
)
def test_numbers_of_a_text(text: str, expected: set[Decimal]) -> None:
    """Numbers are their digits and value, however they are written."""
    assert numbers(text) == expected


def test_numbers_of_earlier_steps_and_the_problem_may_be_said() -> None:
    """A retold step may mention what is known, must say what it found, and nothing else."""
    problem, steps = Problem("p", "t", "Start at 5.", "12"), ["+3 = 8", "+4 = 12"]
    assert foreign_numbers(problem, steps, "From 5 by 3 to 8, plus 4 is 12, or 13.") == {13}
    assert missing_numbers(problem, steps, "From 8 we go on by 4.") == {12}
