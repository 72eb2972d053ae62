"""A walk in words, by template (paper, section on rewriting).

Each move gives its sentences, and each sentence keeps its node:

    a step       STEP: the node's own text
                 then, on the right path where Q reaches `reassurance_value`: DOUBT, REASSURANCE
    a backtrack  DOUBT (by setting), then RETURN: names the ancestor by what it did, or restarts from the beginning
    the end      ANSWER, where the last step has no box

A direct solution, a walk without backtracks, has no reflection at all. retelling.py says the same walk in
a model's words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from retrograde.core.settings import RewriteSettings
from retrograde.core.shapes import BOX, answer_phrase, count_backtracks, return_phrase
from retrograde.core.solution import (
    MoveKind,
    Rewriter,
    SearchTrace,
    Sentence,
    SentenceKind,
    Solution,
    SolutionKind,
)
from retrograde.core.tree import ROOT, SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task

__all__ = ["assemble", "count_backtracks", "rewrite_by_template", "sentences_of", "solution_id", "with_answer"]


def rewrite_by_template(tree: SearchTree, trace: SearchTrace, task: Task, settings: RewriteSettings) -> Solution:
    """The solution that tells `trace` in the nodes' own texts."""
    return assemble(tree, trace, task, list(sentences_of(tree, trace, task, settings)), Rewriter.TEMPLATE)


def sentences_of(tree: SearchTree, trace: SearchTrace, task: Task, settings: RewriteSettings) -> Iterator[Sentence]:
    """The sentences of `trace` in order, without the final ANSWER."""
    right = set(tree.path(trace.moves[-1].node))
    reflects = settings.reflection and trace.num_backtracks > 0
    here = ROOT
    for move in trace.moves:
        if move.kind is MoveKind.BACKTRACK:
            if reflects:
                yield Sentence(SentenceKind.DOUBT, task.phrases.doubt, here)
            text = return_phrase(task, tree.problem, tree.steps(move.node))
            yield Sentence(SentenceKind.RETURN, text, move.node)
        else:
            step = tree.nodes[move.node].step
            text = step if move is trace.moves[-1] else _set_apart(step, task)
            yield Sentence(SentenceKind.STEP, text, move.node, on_path=move.node in right)
            if reflects and move.node in right and _reassures(tree, move.node, settings):
                yield Sentence(SentenceKind.DOUBT, task.phrases.doubt, move.node)
                yield Sentence(SentenceKind.REASSURANCE, task.phrases.reassurance, move.node)
        here = move.node


def assemble(
    tree: SearchTree, trace: SearchTrace, task: Task, sentences: Sequence[Sentence], rewriter: Rewriter
) -> Solution:
    """The solution made of `sentences`, closed by the answer where its last step has no box."""
    return Solution(
        id=solution_id(tree, trace),
        problem=tree.problem,
        prompt=task.prompt(tree.problem),
        sentences=with_answer(tree, sentences),
        kind=SolutionKind.SEARCH if trace.num_backtracks else SolutionKind.DIRECT,
        rewriter=rewriter,
        trace=trace,
    )


def with_answer(tree: SearchTree, sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """`sentences`, followed by an ANSWER if the last one does not box the answer."""
    last = sentences[-1]
    grade = tree.nodes[last.node].grade
    if grade is None or BOX in last.text:
        return tuple(sentences)
    return (*sentences, Sentence(SentenceKind.ANSWER, answer_phrase(grade.answer), last.node))


def solution_id(tree: SearchTree, trace: SearchTrace) -> str:
    """The problem's id and twelve hex digits of the walk: telling it again gives the same id."""
    moves = ",".join(f"{move.kind.value[0]}{move.node}" for move in trace.moves)
    return f"{tree.problem.id}-{hashlib.sha256(f'{trace.tree_key} {moves}'.encode()).hexdigest()[:12]}"


def _set_apart(step: str, task: Task) -> str:
    """`step`, ended as the task ends steps also where the model ended its answer, so that what follows stands apart."""
    return step if not task.stop or step.endswith(task.stop) else step + task.stop[0]


def _reassures(tree: SearchTree, node: int, settings: RewriteSettings) -> bool:
    """Whether a right step is worth a reassurance: visited, of high value, and not the end."""
    step = tree.nodes[node]
    return step.visits > 0 and step.value >= settings.reassurance_value and not step.is_terminal
