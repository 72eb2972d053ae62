"""What must hold of every solution, checked by machine (paper, section on rewriting).

`check_solution` asks, in this order: is the trace a walk on the tree, do the sentences tell that walk, do its returns
name real earlier ancestors, does no wrong answer appear twice, are a step's numbers its node's, does it end with the
correct boxed answer. A trace that is no walk, or is not told, ends the check: nothing after it would mean anything.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.core.figures import foreign_numbers, missing_numbers
from retrograde.core.problem import Verdict
from retrograde.core.shapes import BOX, answer_phrase, count_backtracks, return_phrase
from retrograde.core.solution import Move, MoveKind, Sentence, SentenceKind, Solution
from retrograde.core.tree import ROOT, SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


class Reason(enum.StrEnum):
    """Which invariant is broken."""

    NOT_A_WALK = "not_a_walk"  # a move leads neither to a child nor back to an ancestor, or the walk ends wrongly
    NODE_TOLD_TWICE = "node_told_twice"  # without a restart from the root in between
    OUT_OF_ORDER = "out_of_order"  # the sentences do not tell the walk
    MISLABELLED_BRANCH = "mislabelled_branch"  # a sentence's on_path flag is wrong
    ODD_PHRASE = "odd_phrase"  # a doubt, reassurance or answer is not of its fixed shape, or in a wrong place
    FALSE_RETURN = "false_return"  # a return does not name its ancestor as it was told
    REPEATED_WRONG_ANSWER = "repeated_wrong_answer"
    FOREIGN_NUMBER = "foreign_number"  # a step says a number its node does not have
    MISSING_NUMBER = "missing_number"  # a step leaves out what its node found
    STRAY_BOX = "stray_box"  # a step boxes an answer its node does not box
    EMPTY_STEP = "empty_step"
    NO_FINAL_BOX = "no_final_box"  # the last sentence holds no boxed answer
    NOT_CORRECT = "not_correct"  # the whole text is not graded correct


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant broken at the `sentence`-th sentence (-1: by the whole), and how."""

    reason: Reason
    sentence: int = -1
    detail: str = ""


def check_solution(solution: Solution, tree: SearchTree, task: Task) -> list[Violation]:
    """The broken invariants of `solution`, told from `tree`; empty if it is sound."""
    faults = [*_walk_faults(solution, tree)] or [*_order_faults(solution)]
    if faults:
        return faults
    checks = (_flag_faults, _phrase_faults, _return_faults, _answer_faults, _step_faults, _end_faults)
    return [fault for check in checks for fault in check(solution, tree, task)]


def check_step(tree: SearchTree, node: int, text: str, task: Task) -> list[Violation]:
    """The broken invariants of `text` as a retelling of the step of `node`, whatever stands around it."""
    steps, step = tree.steps(node), tree.nodes[node].step
    faults = [Violation(Reason.EMPTY_STEP)] if not text.strip() else []
    if foreign := foreign_numbers(tree.problem, steps, text):
        faults.append(Violation(Reason.FOREIGN_NUMBER, detail=_listed(foreign)))
    if missing := missing_numbers(tree.problem, steps, text):
        faults.append(Violation(Reason.MISSING_NUMBER, detail=_listed(missing)))
    if BOX in text and BOX not in step:
        faults.append(Violation(Reason.STRAY_BOX))
    if count_backtracks(text, task.phrases) > count_backtracks(step, task.phrases):
        faults.append(Violation(Reason.FALSE_RETURN, detail="a step tells a return of its own"))
    return faults


def _walk_faults(solution: Solution, tree: SearchTree) -> Iterator[Violation]:
    here, told = ROOT, set[int]()
    for position, move in enumerate(solution.trace.moves):
        if not _is_legal(tree, here, move):
            yield Violation(Reason.NOT_A_WALK, detail=f"move {position}: {move.kind.value} from {here} to {move.node}")
            return
        here = move.node
        if move == Move(MoveKind.BACKTRACK, ROOT):
            told = set()
        elif move.kind is MoveKind.STEP and here in told:
            yield Violation(Reason.NODE_TOLD_TWICE, detail=f"move {position}: node {here}")
        told |= {here} if move.kind is MoveKind.STEP else set()
    if not tree.nodes[here].is_correct or _terminals(solution, tree) != list(solution.trace.terminals):
        yield Violation(Reason.NOT_A_WALK, detail=f"ends at node {here}; terminals {solution.trace.terminals}")


def _is_legal(tree: SearchTree, here: int, move: Move) -> bool:
    if not 0 <= move.node < len(tree.nodes):
        return False
    if move.kind is MoveKind.STEP:
        return tree.nodes[move.node].parent == here
    return move.node in tree.path(here)[:-1]


def _terminals(solution: Solution, tree: SearchTree) -> list[int]:
    """Terminals the walk tells, in order."""
    told = (move.node for move in solution.trace.moves if move.kind is MoveKind.STEP)
    return [node for node in told if tree.nodes[node].is_terminal]


def _order_faults(solution: Solution) -> Iterator[Violation]:
    """Steps and returns tell the moves one by one; what stands between speaks of where the walk stands."""
    moves, here = list(solution.trace.moves), ROOT
    for position, sentence in enumerate(solution.sentences):
        if sentence.kind in _MOVES:
            here = sentence.node
            if not moves or moves.pop(0) != Move(_MOVES[sentence.kind], here):
                yield Violation(Reason.OUT_OF_ORDER, position, f"{sentence.kind.value} {here} is not the next move")
                return
        elif sentence.node != here:
            yield Violation(Reason.OUT_OF_ORDER, position, f"speaks of node {sentence.node} at node {here}")
    if moves:
        yield Violation(Reason.OUT_OF_ORDER, detail=f"{len(moves)} moves are not told")


_MOVES = {SentenceKind.STEP: MoveKind.STEP, SentenceKind.RETURN: MoveKind.BACKTRACK}


def _flag_faults(solution: Solution, tree: SearchTree, _task: Task) -> Iterator[Violation]:
    right = set(tree.path(solution.trace.moves[-1].node))
    for position, sentence in enumerate(solution.sentences):
        if sentence.on_path != (sentence.kind is not SentenceKind.STEP or sentence.node in right):
            yield Violation(Reason.MISLABELLED_BRANCH, position)


def _phrase_faults(solution: Solution, tree: SearchTree, task: Task) -> Iterator[Violation]:
    """Doubts and reassurances keep their shape, reassurances stay on the right path, an answer comes last."""
    right = set(tree.path(solution.trace.moves[-1].node))
    last = len(solution.sentences) - 1
    for position, sentence in enumerate(solution.sentences):
        match sentence.kind:
            case SentenceKind.DOUBT:
                sound = sentence.text == task.phrases.doubt
            case SentenceKind.REASSURANCE:
                sound = sentence.text == task.phrases.reassurance and sentence.node in right
            case SentenceKind.ANSWER:
                grade = tree.nodes[sentence.node].grade
                sound = position == last and grade is not None and sentence.text == answer_phrase(grade.answer)
            case SentenceKind.STEP | SentenceKind.RETURN:
                sound = True
        if not sound:
            yield Violation(Reason.ODD_PHRASE, position)


def _return_faults(solution: Solution, tree: SearchTree, task: Task) -> Iterator[Violation]:
    """Each return says what its ancestor did, as that was told, and the task finds all of them real in the text."""
    told: dict[int, str] = {}
    for position, sentence in enumerate(solution.sentences):
        if sentence.kind is SentenceKind.STEP:
            told[sentence.node] = sentence.text
        elif sentence.kind is SentenceKind.RETURN and not _names_ancestor(sentence, told, tree, task):
            yield Violation(Reason.FALSE_RETURN, position)
    wanted = solution.trace.num_backtracks
    found = task.returns(solution.problem, solution.completion)
    if found != (wanted, wanted):
        yield Violation(
            Reason.FALSE_RETURN, detail=f"the text tells {found[0]} returns, {found[1]} real; {wanted} made"
        )


def _names_ancestor(sentence: Sentence, told: dict[int, str], tree: SearchTree, task: Task) -> bool:
    path = tree.path(sentence.node)[1:]
    if any(node not in told for node in path):
        return False
    try:
        return sentence.text == return_phrase(task, tree.problem, [told[node] for node in path])
    except ValueError:  # the task reads no state in these words
        return False


def _answer_faults(solution: Solution, tree: SearchTree, _task: Task) -> Iterator[Violation]:
    grades = [tree.nodes[node].grade for node in _terminals(solution, tree)[:-1]]
    answers = Counter(grade.answer for grade in grades if grade is not None)
    for answer, times in answers.items():
        if times > 1:
            yield Violation(Reason.REPEATED_WRONG_ANSWER, detail=answer)


def _step_faults(solution: Solution, tree: SearchTree, task: Task) -> Iterator[Violation]:
    for position, sentence in enumerate(solution.sentences):
        if sentence.kind is SentenceKind.STEP:
            for fault in check_step(tree, sentence.node, sentence.text, task):
                yield Violation(fault.reason, position, fault.detail)


def _end_faults(solution: Solution, _tree: SearchTree, task: Task) -> Iterator[Violation]:
    if BOX not in solution.sentences[-1].text:
        yield Violation(Reason.NO_FINAL_BOX, len(solution.sentences) - 1)
    grade = task.grade(solution.problem, solution.completion)
    if grade.verdict is not Verdict.CORRECT:
        yield Violation(Reason.NOT_CORRECT, detail=f"{grade.verdict.value}: {grade.reason}")


def _listed(found: frozenset[object]) -> str:
    return ", ".join(sorted(map(str, found)))
