"""Walks in words: whole small solutions, by template and by a model."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sums_task import DOUBT, PROBLEM, RESTART, SUMS, grown, random_tree, ten_nodes

from retrograde.core.invariants import Reason, check_solution
from retrograde.core.linearize import linearize
from retrograde.core.retelling import Retelling, RewriteError, polish
from retrograde.core.rewrite import count_backtracks, rewrite_by_template
from retrograde.core.settings import LinearizeSettings, RewriteSettings
from retrograde.core.solution import (
    Move,
    MoveKind,
    Rewriter,
    SearchTrace,
    Sentence,
    SentenceKind,
    SolutionKind,
)
from retrograde.tasks.task import Phrases

TEMPLATE = RewriteSettings(method="template")
STEP, BACK = MoveKind.STEP, MoveKind.BACKTRACK
DIRECT = SearchTrace("key", (Move(STEP, 1), Move(STEP, 4), Move(STEP, 5)), (5,))
SEARCH = SearchTrace(
    "key",
    tuple(Move(BACK if n in {-1, 0} else STEP, abs(n)) for n in (6, 7, 0, 1, 2, 3, -1, 4, 5)),
    (7, 3, 5),
)


def test_direct_solution_is_the_steps_alone() -> None:
    """K = 0 gives the right path's own texts, all on the path, with no reflection even where values are high."""
    tree = ten_nodes()
    tree.nodes[1].visits, tree.nodes[1].value = 1, 1.0
    solution = rewrite_by_template(tree, DIRECT, SUMS, TEMPLATE.model_copy(update={"reassurance_value": 0.5}))
    assert solution.completion == "+4 = 4\n+6 = 10\nstop: \\boxed{10}\n"
    assert (solution.kind, solution.rewriter, solution.prompt) == (
        SolutionKind.DIRECT,
        Rewriter.TEMPLATE,
        "Start at 0, reach 10.\n",
    )


def test_search_solution_in_full() -> None:
    """Every sentence of a walk with two wrong turns: its kind, words, node, and whether it is on the right path."""
    solution = rewrite_by_template(ten_nodes(), SEARCH, SUMS, TEMPLATE)
    step, doubt, back = SentenceKind.STEP, SentenceKind.DOUBT, SentenceKind.RETURN
    assert solution.sentences == (
        Sentence(step, "+7 = 7\n", 6, on_path=False),
        Sentence(step, "stop: \\boxed{7}\n", 7, on_path=False),
        Sentence(doubt, DOUBT, 7),
        Sentence(back, RESTART, 0),
        Sentence(step, "+4 = 4\n", 1),
        Sentence(step, "+5 = 9\n", 2, on_path=False),
        Sentence(step, "stop: \\boxed{9}\n", 3, on_path=False),
        Sentence(doubt, DOUBT, 3),
        Sentence(back, "Let's go back to where we had 4.\n", 1),
        Sentence(step, "+6 = 10\n", 4),
        Sentence(step, "stop: \\boxed{10}\n", 5),
    )
    assert solution.kind is SolutionKind.SEARCH


def test_reflection_can_be_left_out() -> None:
    """Without reflection only the doubts and reassurances go; returns stay."""
    tree = ten_nodes()
    tree.nodes[1].visits, tree.nodes[1].value = 1, 1.0
    settings = TEMPLATE.model_copy(update={"reflection": False, "reassurance_value": 0.0})
    kinds = [sentence.kind for sentence in rewrite_by_template(tree, SEARCH, SUMS, settings).sentences]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {SentenceKind.STEP: 7, SentenceKind.RETURN: 2}


def test_reassurance_follows_right_steps_of_high_value() -> None:
    """A visited right step that reaches the threshold is reassured; wrong, unvisited and last steps are not."""
    tree = ten_nodes()
    for node in (1, 5, 6):
        tree.nodes[node].visits, tree.nodes[node].value = 2, 0.75
    tree.nodes[4].value = 0.75
    settings = TEMPLATE.model_copy(update={"reassurance_value": 0.75})
    sentences = rewrite_by_template(tree, SEARCH, SUMS, settings).sentences
    told = [(s.kind, s.node) for s in sentences if s.kind in {SentenceKind.DOUBT, SentenceKind.REASSURANCE}]
    doubt, reassurance = SentenceKind.DOUBT, SentenceKind.REASSURANCE
    assert told == [(doubt, 7), (doubt, 1), (reassurance, 1), (doubt, 3)]


def test_answer_is_boxed_where_the_last_step_is_not() -> None:
    """A task whose terminal step has no box gets a closing sentence with the graded answer in one."""
    tree = grown([0, 1], ["+10 = 10\n", "stop at 10\n"])
    trace = SearchTrace("key", (Move(STEP, 1), Move(STEP, 2)), (2,))
    solution = rewrite_by_template(tree, trace, SUMS, TEMPLATE)
    assert solution.sentences[-1] == Sentence(SentenceKind.ANSWER, "The final answer is \\boxed{10}.\n", 2)
    assert check_solution(solution, tree, SUMS) == []


def test_solution_id_follows_from_the_walk() -> None:
    """Telling a walk again gives the same id; another walk gives another."""
    tree = ten_nodes()
    ids = [rewrite_by_template(tree, trace, SUMS, TEMPLATE).id for trace in (SEARCH, SEARCH, DIRECT)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("sums-1-")


@given(
    st.integers(0, 10_000), st.sampled_from(["terminal", "any"]), st.sampled_from(["deepest_common_ancestor", "root"])
)
def test_template_rewrites_of_any_tree_keep_the_invariants(seed: int, leave: str, merge: str) -> None:
    """Whatever the tree and the settings, a template solution breaks no invariant."""
    tree = random_tree(seed)
    wanted = LinearizeSettings.model_validate({"backtrack_from": leave, "merge_at": merge, "num_wrong": (1, 2, 3)})
    for trace in linearize(tree, wanted, random.Random(seed)).traces:
        solution = rewrite_by_template(tree, trace, SUMS, RewriteSettings(reassurance_value=0.5))
        assert check_solution(solution, tree, SUMS) == []
        assert count_backtracks(solution.completion) == trace.num_backtracks


@pytest.mark.parametrize(
    ("phrases", "expected"),
    [(None, 2), (Phrases(go_back="Back to {recall}.\n", restart="Again: {recall}.\n"), 3)],
)
def test_backtracks_are_counted_by_the_phrases_of_the_task(phrases: Phrases | None, expected: int) -> None:
    """Returns and restarts count, in the paper's words or the task's own."""
    text = "Let's go back to where we had 4.\nLet's restart our solution.\nBack to 4.\nAgain: 0.\nBack to 5.\n"
    assert count_backtracks(text, phrases) == expected


def retold(replies: dict[str, str], trace: SearchTrace = SEARCH) -> tuple[Retelling, list[str]]:
    """A retelling whose model answers `replies` by raw step (or the step itself), and the prompts it was given."""
    retelling, prompts = Retelling(ten_nodes(), trace, SUMS, RewriteSettings()), []
    while (prompt := retelling.next_prompt()) is not None:
        prompts.append(prompt)
        step = prompt.rpartition("|")[2].strip()
        if retelling.feed(replies.get(step, step)):
            retelling.tell_raw()
    return retelling, prompts


def test_model_retells_steps_and_fixed_shapes_stay() -> None:
    """Steps are told in the model's words, in their white space; returns name an ancestor as it was retold."""
    retelling, prompts = retold({"+4 = 4": "  +4 = 04, which is 4 so far.", "+6 = 10": "Adding 6\n\ngives 10."})
    solution = retelling.solution()
    assert solution.completion == (
        f"+7 = 7\nstop: \\boxed{{7}}\n{DOUBT}{RESTART}"
        f"+4 = 04, which is 4 so far.\n+5 = 9\nstop: \\boxed{{9}}\n{DOUBT}Let's go back to where we had 04.\n"
        "Adding 6\ngives 10.\nstop: \\boxed{10}\n"
    )
    assert solution.rewriter is Rewriter.LLM
    assert prompts[2] == f"+7 = 7\nstop: \\boxed{{7}}\n{DOUBT}{RESTART}|+4 = 4\n"


def test_retelling_that_drops_the_box_gets_an_answer() -> None:
    """If the model leaves out the last step's box, the answer is boxed in a sentence of its own."""
    retelling, _ = retold({"stop: \\boxed{10}": "We stop here with 10."}, DIRECT)
    assert retelling.solution().completion.endswith("We stop here with 10.\nThe final answer is \\boxed{10}.\n")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Adding 6 gives 16, no, 10.", Reason.FOREIGN_NUMBER),
        ("Adding some.", Reason.MISSING_NUMBER),
        ("So 6, and \\boxed{10}.", Reason.STRAY_BOX),
        ("6. Let's go back to where we had 4.", Reason.FALSE_RETURN),
        (" \n ", Reason.EMPTY_STEP),
    ],
)
def test_bad_retelling_is_refused_and_asked_for_again(reply: str, reason: Reason) -> None:
    """A reply that breaks an invariant of its step changes nothing but says which one it broke."""
    retelling = Retelling(ten_nodes(), DIRECT, SUMS, RewriteSettings())
    assert retelling.feed("+4 = 4") == []
    prompt = retelling.next_prompt()
    assert reason in [violation.reason for violation in retelling.feed(reply)]
    assert retelling.next_prompt() == prompt


def test_step_told_raw_is_counted() -> None:
    """A step that keeps its own text makes the solution one of LLM, then template."""
    retelling, _ = retold({"+6 = 10": "nothing"})
    assert retelling.num_templated == 1
    assert retelling.solution().rewriter is Rewriter.LLM_THEN_TEMPLATE
    assert retelling.solution().completion == rewrite_by_template(ten_nodes(), SEARCH, SUMS, TEMPLATE).completion


def test_words_in_which_no_return_could_be_named_are_refused() -> None:
    """A step that a later return leads to must leave its state readable to the task."""
    retelling = Retelling(ten_nodes(), SEARCH, SUMS, RewriteSettings())
    for reply in ("+7 = 7", "stop: \\boxed{7}"):
        assert retelling.feed(reply) == []
    violations = retelling.feed("We add 4 and get 4.")
    assert [violation.reason for violation in violations] == [Reason.FALSE_RETURN]


def test_unfinished_retelling_gives_no_solution() -> None:
    """A retelling with steps left to tell refuses to be taken for a solution."""
    with pytest.raises(RewriteError, match="3 sentences are left"):
        Retelling(ten_nodes(), DIRECT, SUMS, RewriteSettings()).solution()


@pytest.mark.parametrize(
    ("reply", "step", "expected"),
    [(" a\n\n\nb ", " x\n\n", " a\nb\n\n"), ("a", "x", "a"), ("a", "\n", "a\n"), ("  ", " x\n", "")],
)
def test_reply_takes_the_white_space_of_its_step(reply: str, step: str, expected: str) -> None:
    """A reply is trimmed, loses its blank lines, and stands between what the step stands in; an empty one is empty."""
    assert polish(reply, step) == expected


def test_fake_task_is_the_problem_it_says() -> None:
    """The hand-checked tree's right terminal is graded right by the task, and no other."""
    tree = ten_nodes()
    assert [node for node in tree.terminals() if tree.nodes[node].is_correct] == [5]
    assert tree.problem == PROBLEM
