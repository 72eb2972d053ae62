"""A walk in a model's words, without I/O: procedure cloning (paper, section on rewriting).

A `Retelling` asks for one step at a time; doubts, returns and reassurances keep their fixed shapes. The driver in
services/rewriter does the asking:

    while (prompt := retelling.next_prompt()) is not None:
        if retelling.feed(reply of the model) and attempts are used up:
            retelling.tell_raw()          # this step by template, counted
    solution = retelling.solution()

A reply that breaks an invariant of its step is refused with the violations and asked for again. A return names its
ancestor as that was told, so its words follow the retold steps.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from retrograde.core.invariants import Reason, Violation, check_step
from retrograde.core.rewrite import assemble, sentences_of
from retrograde.core.settings import RewriteSettings
from retrograde.core.shapes import return_phrase
from retrograde.core.solution import MoveKind, Rewriter, SearchTrace, Sentence, SentenceKind, Solution
from retrograde.core.tree import SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


class RewriteError(ValueError):
    """A retelling is used out of turn; the message says how to use it."""


class Retelling:
    """The retelling of `trace`, step by step; `num_templated` counts the steps that kept their own text."""

    def __init__(self, tree: SearchTree, trace: SearchTrace, task: Task, settings: RewriteSettings) -> None:
        self.num_templated = 0
        self._tree = tree
        self._trace = trace
        self._task = task
        self._waiting = deque(sentences_of(tree, trace, task, settings))
        self._told: list[Sentence] = []
        self._steps: dict[int, str] = {}
        targets = (move.node for move in trace.moves if move.kind is MoveKind.BACKTRACK)
        self._recalled = {node for target in targets for node in tree.path(target)}
        self._pass_fixed()

    def next_prompt(self) -> str | None:
        """The request to retell the next step after what is told so far; the same until told. None at the end."""
        if not self._waiting:
            return None
        so_far = "".join(sentence.text for sentence in self._told)
        return self._task.step_prompt(self._tree.problem, so_far, self._waiting[0].text)

    def feed(self, reply: str) -> list[Violation]:
        """Takes the model's words for the step that was asked for, or refuses them with the reasons."""
        sentence = self._waiting[0]
        text = polish(reply, sentence.text)
        violations = [
            *check_step(self._tree, sentence.node, text, self._task),
            *self._check_recall(sentence.node, text),
        ]
        if not violations:
            self._tell(text)
        return violations

    def tell_raw(self) -> None:
        """Tells the step that was asked for in its own text."""
        self.num_templated += 1
        self._tell(self._waiting[0].text)

    def solution(self) -> Solution:
        """The told walk. Raises RewriteError while steps are left to tell."""
        if self._waiting:
            raise RewriteError(f"{len(self._waiting)} sentences are left; tell them until next_prompt() is None")
        rewriter = Rewriter.LLM_THEN_TEMPLATE if self.num_templated else Rewriter.LLM
        return assemble(self._tree, self._trace, self._task, self._told, rewriter)

    def _check_recall(self, node: int, text: str) -> list[Violation]:
        """Whether these words would leave a later return with a state that the task cannot read."""
        if node not in self._recalled:
            return []
        try:
            self._return_phrase(node, {**self._steps, node: text})
        except ValueError as error:
            return [Violation(Reason.FALSE_RETURN, detail=str(error))]
        return []

    def _return_phrase(self, node: int, told: dict[int, str]) -> str:
        return return_phrase(self._task, self._tree.problem, [told[index] for index in self._tree.path(node)[1:]])

    def _tell(self, text: str) -> None:
        sentence = replace(self._waiting.popleft(), text=text)
        self._told.append(sentence)
        self._steps[sentence.node] = text
        self._pass_fixed()

    def _pass_fixed(self) -> None:
        """Tells what has a fixed shape, up to the next step."""
        while self._waiting and self._waiting[0].kind is not SentenceKind.STEP:
            sentence = self._waiting.popleft()
            if sentence.kind is SentenceKind.RETURN:
                sentence = replace(sentence, text=self._return_phrase(sentence.node, self._steps))
            self._told.append(sentence)


def polish(reply: str, step: str) -> str:
    """The reply on as many lines as it needs, with no blank ones, between the white space that `step` stands in."""
    body = step.strip()
    before, _, after = step.partition(body) if body else ("", "", "\n")
    text = re.sub(r"\n\s*\n", "\n", reply.strip())
    return f"{before}{text}{after}" if text else ""
