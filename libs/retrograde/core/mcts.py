"""Monte-Carlo tree search of one problem, without I/O (paper, section on search).

A `TreeSearch` says what it wants to know next and is told the answer; the driver in services/search does the asking:

    while (call := search.next_call()) is not None:
        completions = ask the policy for search.prompt(call), search.sampling(call)
        grades      = ask the verifier about search.to_grade(call, completions)
        search.feed(call, Reply(completions, grades))

An iteration selects a leaf, expands it (one call), evaluates it (one call, or one per new child by setting) and
backpropagates. A selected terminal is backed up again without a call. The tree depends on the replies alone: feeding
the logged replies of a killed search makes the same tree. One call is in flight at a time; several will need a virtual
loss between `select` and `backpropagate`, and nothing else.

An evaluation in which no rollout has a verdict backs up nothing: its iteration is spent, the tree's statistics stay as
they were, and the search goes on below. A terminal without a verdict is closed: it is never entered again.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrograde.core.growth import backpropagate, evaluate, expand
from retrograde.core.policy import Completion, Prompt, Sampling
from retrograde.core.problem import Grade
from retrograde.core.selection import candidates, select
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


class SearchError(ValueError):
    """A reply does not fit the call it answers; the message says how."""


class CallKind(enum.Enum):
    """What is asked of the policy."""

    EXPAND = "expand"  # next steps
    EVALUATE = "evaluate"  # rollouts to the end


@dataclass(frozen=True, slots=True)
class Call:
    """The search's `index`-th question: `num_samples` continuations of `node`."""

    index: int
    kind: CallKind
    node: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The completions, and by position the grades of those that `TreeSearch.to_grade` named."""

    completions: Sequence[Completion]
    grades: Mapping[int, Grade] = field(default_factory=dict)


@dataclass(slots=True)
class Spent:
    """Samples drawn so far: proposed steps and rollouts."""

    num_proposals: int = 0
    num_rollouts: int = 0


def budget(settings: SearchSettings) -> Spent:
    """The most samples a search may draw; a tree that runs into terminals draws fewer."""
    evaluations = settings.num_actions if settings.evaluate == "children" else 1
    proposals = settings.num_iterations * settings.num_actions
    return Spent(proposals, settings.num_iterations * evaluations * settings.num_rollouts)


class TreeSearch:
    """The search of `tree`, which it grows in place from where `tree.num_iterations` stands."""

    def __init__(self, tree: SearchTree, task: Task, settings: SearchSettings) -> None:
        self.tree = tree
        self.spent = Spent()
        self._task = task
        self._settings = settings
        self._calls: list[tuple[CallKind, int]] = []  # of the iteration in progress, the next one last
        self._num_calls = 0
        self._closed: set[int] = set()

    @property
    def num_correct(self) -> int:
        """Correct terminals found so far, kept rollouts included."""
        return sum(node.is_correct for node in self.tree.nodes)

    @property
    def done(self) -> bool:
        """Whether no call will follow."""
        return self.next_call() is None

    def next_call(self) -> Call | None:
        """What to ask next; the same until it is fed. None once the budget is spent or nothing is left to try."""
        while not self._calls and not self._finished():
            self._iterate()
        if not self._calls:
            return None
        kind, node = self._calls[-1]
        expands = kind is CallKind.EXPAND
        num_samples = self._settings.num_actions if expands else self._settings.num_rollouts
        return Call(self._num_calls, kind, node, num_samples)

    def prompt(self, call: Call) -> Prompt:
        """What the policy continues."""
        begun = "".join(self.tree.steps(call.node))
        return Prompt(self._task.prompt(self.tree.problem), chat=self._task.chat, begun=begun)

    def sampling(self, call: Call, seed: int | None = None) -> Sampling:
        """How it is continued: to the end of a step, or to the end."""
        settings, expands = self._settings, call.kind is CallKind.EXPAND
        return Sampling(
            n=call.num_samples,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_step_tokens if expands else settings.max_rollout_tokens,
            stop=self._task.stop if expands else (),
            seed=seed,
            logprobs=expands,
        )

    def to_grade(self, call: Call, completions: Sequence[Completion]) -> dict[int, str]:
        """Whole solutions to be judged, by the position of the completion that ends them.

        Every rollout ends one, and of the proposed steps those that are terminal.
        """
        begun = self.tree.steps(call.node)
        return {
            position: "".join(begun) + completion.text
            for position, completion in enumerate(completions)
            if call.kind is CallKind.EVALUATE or self._task.is_terminal(self.tree.problem, [*begun, completion.text])
        }

    def feed(self, call: Call, reply: Reply) -> None:
        """Takes the answer to `call` into the tree. Raises SearchError if it answers another call or lacks a grade."""
        if call != self.next_call():
            raise SearchError(f"call {call.index}: not the call in flight; feed the answer to next_call()")
        wanted = self.to_grade(call, reply.completions).keys()
        if wanted != reply.grades.keys():
            raise SearchError(f"call {call.index}: grades for {sorted(reply.grades)}, wanted for {sorted(wanted)}")
        self._calls.pop()
        self._num_calls += 1
        if call.kind is CallKind.EXPAND:
            self._expanded(call.node, reply)
        else:
            self._evaluated(call.node, reply)
        if not self._calls:
            self.tree.num_iterations += 1

    def _finished(self) -> bool:
        wanted = self._settings.stop_when_solved
        return (
            self.tree.num_iterations >= self._settings.num_iterations
            or ROOT in self._closed
            or (wanted > 0 and self.num_correct >= wanted)
        )

    def _iterate(self) -> None:
        """Selects a leaf and plans its calls, or backs it up at once if there is nothing to ask."""
        node = select(self.tree, self._settings.c_puct, self._closed)
        leaf = self.tree.nodes[node]
        if leaf.is_terminal or leaf.expanded:
            self._back_up(node)
            self.tree.num_iterations += 1
            return
        if self._settings.evaluate == "expanded" and self._settings.num_rollouts:
            self._calls.append((CallKind.EVALUATE, node))
        self._calls.append((CallKind.EXPAND, node))

    def _expanded(self, node: int, reply: Reply) -> None:
        self.spent.num_proposals += len(reply.completions)
        children = expand(self.tree, node, reply.completions, reply.grades, self._settings)
        self._closed.update(child for child in children if self._is_void(child))
        if self._settings.evaluate != "children":
            return
        for child in reversed(children):
            if not self.tree.nodes[child].is_terminal and self._settings.num_rollouts:
                self._calls.append((CallKind.EVALUATE, child))
        for child in children:
            if self.tree.nodes[child].is_terminal:
                self._back_up(child)

    def _evaluated(self, node: int, reply: Reply) -> None:
        self.spent.num_rollouts += len(reply.completions)
        evaluate(self.tree, node, reply.completions, reply.grades, self._task, self._settings)
        self._back_up(node)

    def _back_up(self, node: int) -> None:
        """Backpropagates the node's reward; one that has none and can get none any more is closed instead."""
        if self.tree.nodes[node].reward is not None:
            backpropagate(self.tree, node)
        elif self._is_void(node):
            self._closed.add(node)

    def _is_void(self, node: int) -> bool:
        """Whether no reward can come of `node` any more."""
        leaf = self.tree.nodes[node]
        spent = leaf.is_terminal or (leaf.expanded and not candidates(self.tree, node, self._closed))
        return leaf.reward is None and spent
