"""Other searches on the same meter, so that accuracy can be compared at equal budget.

    BestOfN     rollouts from the root, `num_rollouts` a call, `num_iterations` calls; one of one is a single chain
    Beam        level by level: the `beam_width` best nodes are expanded, their children scored, the best kept
    BestFirst   the open node with the highest score is expanded next

A node's score is the mean reward of its `num_rollouts` rollouts, or with `num_rollouts` 0 its mean log-probability per
token. They ask in the same calls as TreeSearch and leave the same kind of tree: its values are backed up likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrograde.core.growth import backpropagate, evaluate, expand
from retrograde.core.search import Call, CallKind, Planned, Reply, Search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, SearchTree

if TYPE_CHECKING:
    from retrograde.tasks.task import Task


class BestOfN(Search):
    """Independent solutions; the root's value is the share of right ones."""

    def _plan(self) -> Planned | None:
        settings = self._settings
        if self._num_calls >= settings.num_iterations or 0 < settings.stop_when_solved <= self.num_correct:
            return None
        return Planned(CallKind.EVALUATE, ROOT, max(settings.num_rollouts, 1))

    def _learn(self, call: Call, reply: Reply) -> None:
        evaluate(self.tree, call.node, reply.completions, reply.grades, self._task, self._settings)
        root = self.tree.nodes[ROOT]
        if root.reward is not None:  # of this call alone: the value is the mean over calls, all of one size
            root.value += (root.reward - root.value) / (root.visits + 1)
            root.visits += 1
        self.tree.num_iterations += 1


class _ByScore(Search):
    """Expands nodes in an order of their scores; `num_iterations` expansions at most."""

    def __init__(self, tree: SearchTree, task: Task, settings: SearchSettings) -> None:
        super().__init__(tree, task, settings)
        self._to_score: list[int] = []
        self._num_scoring = 0
        self._num_begun = tree.num_iterations

    def _plan(self) -> Planned | None:
        if self._to_score:
            self._num_scoring += 1
            return Planned(CallKind.EVALUATE, self._to_score.pop(0), self._settings.num_rollouts)
        solved = 0 < self._settings.stop_when_solved <= self.num_correct
        if solved or self._num_begun >= self._settings.num_iterations:
            return None
        node = self._next_node()
        if node is None:
            return None
        self._num_begun += 1
        return Planned(CallKind.EXPAND, node, self._settings.num_actions)

    def _learn(self, call: Call, reply: Reply) -> None:
        if call.kind is CallKind.EVALUATE:
            evaluate(self.tree, call.node, reply.completions, reply.grades, self._task, self._settings)
            self._num_scoring -= 1
            self._scored(call.node)
            return
        for child in expand(self.tree, call.node, reply.completions, reply.grades, self._settings):
            if self.tree.nodes[child].is_terminal or not self._settings.num_rollouts:
                self._scored(child)
            else:
                self._to_score.append(child)
        self.tree.num_iterations += 1
        self._expanded(call.node)

    def _scored(self, node: int) -> None:
        if self.tree.nodes[node].reward is not None:
            backpropagate(self.tree, node)
        if not self.tree.nodes[node].is_terminal:
            self._add(node)

    def score(self, node: int) -> float:
        """Of a node that is no terminal."""
        found = self.tree.nodes[node]
        if found.reward is not None:
            return found.reward
        return found.logprob / max(found.num_tokens, 1) if not self._settings.num_rollouts else float("-inf")

    def _next_node(self) -> int | None:
        raise NotImplementedError

    def _add(self, node: int) -> None:
        raise NotImplementedError

    def _expanded(self, node: int) -> None:
        """An expansion is over; its children may still be scored."""


class BestFirst(_ByScore):
    """The best open node is next, the oldest among equals."""

    def __init__(self, tree: SearchTree, task: Task, settings: SearchSettings) -> None:
        super().__init__(tree, task, settings)
        self._open = [ROOT]

    def _next_node(self) -> int | None:
        if not self._open:
            return None
        best = max(self._open, key=lambda node: (self.score(node), -node))
        self._open.remove(best)
        return best

    def _add(self, node: int) -> None:
        self._open.append(node)


class Beam(_ByScore):
    """A level is expanded once all nodes of the level above are expanded and scored: that wait is the method's."""

    def __init__(self, tree: SearchTree, task: Task, settings: SearchSettings) -> None:
        super().__init__(tree, task, settings)
        self._level = [ROOT]
        self._next_level: list[int] = []
        self._num_expanding = 0

    def _next_node(self) -> int | None:
        if not self._level and not self._num_expanding and not self._num_scoring:
            best = sorted(self._next_level, key=lambda node: (-self.score(node), node))
            self._level, self._next_level = best[: self._settings.beam_width], []
        if not self._level:
            return None
        self._num_expanding += 1
        return self._level.pop(0)

    def _add(self, node: int) -> None:
        self._next_level.append(node)

    def _expanded(self, node: int) -> None:  # noqa: ARG002 - the level counts, not the node
        self._num_expanding -= 1
