"""Monte-Carlo tree search of one problem (paper, section on search).

An iteration selects a leaf, expands it (one call), evaluates it (one call, or one per new child by setting) and
backpropagates. A selected terminal is backed up again without a call. Several iterations may be in flight: each counts
as a loss on its path until it is over (selection.py), and a leaf that waits for its reply is not selected again.

An evaluation in which no rollout has a verdict backs up nothing: its iteration is spent, the tree's statistics stay as
they were, and the search goes on below. A terminal without a verdict is closed: it is never entered again.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrograde.core.growth import backpropagate, evaluate, expand
from retrograde.core.gumbel import GumbelSelection
from retrograde.core.search import MAX_JUDGEMENT_TOKENS, Call, CallKind, Planned, Reply, Search, Spent
from retrograde.core.selection import Score, Traffic, candidates, scorer, select_free
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


@dataclass(slots=True)
class _Worths:
    """Parts of a node's own reward that are still asked, and those that are known."""

    num_open: int
    known: list[float] = field(default_factory=list)


def budget(settings: SearchSettings) -> Spent:
    """The most a tree search may spend; a tree that runs into terminals spends less."""
    rolls = settings.num_rollouts > 0 and (settings.value != "judge" or settings.evaluate == "children")
    evaluations = 0 if not rolls else settings.num_actions if settings.evaluate == "children" else 1
    judges = int(settings.value != "rollouts" and settings.evaluate == "expanded")
    proposals = settings.num_iterations * settings.num_actions
    rollouts = settings.num_iterations * evaluations * settings.num_rollouts
    judgements = settings.num_iterations * judges * settings.num_judgements
    tokens = proposals * settings.max_step_tokens + rollouts * settings.max_rollout_tokens
    calls = settings.num_iterations * (1 + evaluations + judges)
    return Spent(proposals, rollouts, calls, tokens + judgements * MAX_JUDGEMENT_TOKENS, judgements)


class TreeSearch(Search):
    """The search of `tree` from where `tree.num_iterations` stands."""

    def __init__(self, tree: SearchTree, task: Task, settings: SearchSettings) -> None:
        super().__init__(tree, task, settings)
        self._num_begun = tree.num_iterations
        self._queue: deque[tuple[int, Planned]] = deque()  # (leaf of the iteration, call), to be started next
        self._leaf_of: dict[int, int] = {}  # by call index
        self._open: Counter[int] = Counter()  # calls, queued or in flight, of the iteration at each leaf
        self._worths: dict[int, _Worths] = {}
        self._closed: set[int] = set()
        self._traffic = Traffic()
        self._score: Score = scorer(tree, settings, self._traffic)
        self._gumbel = GumbelSelection(tree, settings, self._traffic) if settings.selection == "gumbel" else None
        self._last_gain = (0, tree.num_iterations)  # correct terminals, and the iteration that found the last

    def _plan(self) -> Planned | None:
        while not self._queue and not self._finished():
            if not self._iterate():
                return None
        if not self._queue:
            return None
        leaf, planned = self._queue.popleft()
        self._leaf_of[self._num_calls] = leaf
        return planned

    def _learn(self, call: Call, reply: Reply) -> None:
        leaf = self._leaf_of.pop(call.index)
        match call.kind:
            case CallKind.EXPAND:
                self._expanded(leaf, reply)
            case CallKind.EVALUATE:
                settings = self._settings
                worth = evaluate(self.tree, call.node, reply.completions, reply.grades, self._task, settings)
                self._evaluated(call.node, worth)
            case CallKind.JUDGE:
                self._evaluated(call.node, self._approval(call, reply))
        self._open[leaf] -= 1
        if not self._open[leaf]:
            self._end_iteration(leaf)

    def _finished(self) -> bool:
        """Whether no iteration is begun any more."""
        settings = self._settings
        return (
            self._num_begun >= settings.num_iterations
            or ROOT in self._closed
            or 0 < settings.stop_when_solved <= self.num_correct
            or (settings.stop_at_value is not None and self._is_sure(settings.stop_at_value))
            or 0 < settings.stop_without_gain <= self.tree.num_iterations - self._last_gain[1]
        )

    def _is_sure(self, value: float) -> bool:
        """Whether a correct terminal is known below a step from the root that is worth `value` or more."""
        good = [child for child in candidates(self.tree, ROOT) if self.tree.nodes[child].value >= value]
        return bool(good) and self.num_correct > 0

    def _iterate(self) -> bool:
        """Begins an iteration; False if there is no leaf to begin one at until a reply comes."""
        score = self._gumbel.scorer() if self._gumbel else self._score
        node = select_free(self.tree, score, self._closed, self._traffic)
        if node is None:
            return False
        self._num_begun += 1
        if self._gumbel and node != ROOT:
            self._gumbel.num_taken += 1
        leaf = self.tree.nodes[node]
        if leaf.is_terminal or leaf.expanded:
            self._back_up(node)
            self._count_iteration()
            return True
        self._traffic.enter(self.tree.path(node))
        self._queue_call(node, Planned(CallKind.EXPAND, node, self._settings.num_actions))
        if self._settings.evaluate == "expanded":
            for planned in self._evaluations(node):
                self._queue_call(node, planned)
        return True

    def _evaluations(self, node: int) -> list[Planned]:
        """The calls whose answers make the node's own reward; nothing can be judged before the first step."""
        settings, found = self._settings, list[Planned]()
        if settings.value != "judge" and settings.num_rollouts:
            found.append(Planned(CallKind.EVALUATE, node, settings.num_rollouts))
        if settings.value != "rollouts" and node != ROOT:
            found.append(Planned(CallKind.JUDGE, node, settings.num_judgements))
        self._worths[node] = _Worths(len(found))
        return found

    def _queue_call(self, leaf: int, planned: Planned) -> None:
        self._queue.append((leaf, planned))
        self._open[leaf] += 1

    def _end_iteration(self, leaf: int) -> None:
        del self._open[leaf]
        self._traffic.leave(self.tree.path(leaf))
        self._count_iteration()

    def _count_iteration(self) -> None:
        self.tree.num_iterations += 1
        if self._settings.stop_without_gain and self.num_correct > self._last_gain[0]:
            self._last_gain = self.num_correct, self.tree.num_iterations

    def _expanded(self, node: int, reply: Reply) -> None:
        children = expand(self.tree, node, reply.completions, reply.grades, self._settings)
        self._closed.update(child for child in children if self._is_void(child))
        if self._settings.evaluate != "children":
            return
        for child in children:
            if not self.tree.nodes[child].is_terminal and self._settings.num_rollouts:
                self._worths[child] = _Worths(1)
                self._queue_call(node, Planned(CallKind.EVALUATE, child, self._settings.num_rollouts))
        for child in children:
            if self.tree.nodes[child].is_terminal:
                self._back_up(child)

    def _evaluated(self, node: int, worth: float | None) -> None:
        """Takes one part of the node's own reward; with the last one the reward is their mean, and is backed up."""
        worths = self._worths[node]
        worths.num_open -= 1
        if worth is not None:
            worths.known.append(worth)
        if not worths.num_open:
            del self._worths[node]
            self.tree.nodes[node].reward = sum(worths.known) / len(worths.known) if worths.known else None
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
