"""Which leaf a search tries next: from the root down, at each node the child with the highest score.

    puct   Q(S,a) + c_puct * pi(a|S) * sqrt(N(S)) / (1 + N(S,a))      (paper, section on search)
    uct    Q(S,a) + c_puct * sqrt(ln N(S) / N(S,a)), unvisited children first, the likeliest of them before the others

The lowest index wins among equals. Q of a child never visited is 0 (the paper is silent: ours). Only children proposed
by an expansion take part; those in `closed` can give no reward any more and are passed over.

With several iterations in flight, each counts as a visit on its path that has brought a wrong answer, `virtual_loss`
times, until its reward is known: so they spread over the tree. With one in flight these terms vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from retrograde.core.settings import SearchSettings
from retrograde.core.tree import ROOT, Node, NodeOrigin, SearchTree

Score = Callable[[int, int], float]  # of (parent, child)


@dataclass(slots=True)
class Traffic:
    """Iterations in flight: how many pass through each node, and the leaves they wait at."""

    through: dict[int, int] = field(default_factory=dict)
    leaves: set[int] = field(default_factory=set)

    def enter(self, path: Sequence[int]) -> None:
        """An iteration begins at the end of `path`."""
        self.leaves.add(path[-1])
        for node in path:
            self.through[node] = self.through.get(node, 0) + 1

    def leave(self, path: Sequence[int]) -> None:
        """It is over."""
        self.leaves.discard(path[-1])
        for node in path:
            self.through[node] -= 1

    def count(self, node: int) -> int:
        """Iterations in flight through `node`."""
        return self.through.get(node, 0)


def puct(parent: Node, child: Node, c_puct: float) -> float:
    """The child's score: its value plus an exploration bonus that fades with its visits."""
    return child.value + c_puct * child.prior * math.sqrt(parent.visits) / (1 + child.visits)


def scorer(tree: SearchTree, settings: SearchSettings, traffic: Traffic) -> Score:
    """The score of `settings.selection`, with what is in flight counted as visited, and as lost."""

    def puct_score(parent: int, child: int) -> float:
        node, waiting = tree.nodes[child], traffic.count(child)
        visits = tree.nodes[parent].visits + traffic.count(parent)
        bonus = settings.c_puct * node.prior * math.sqrt(visits) / (1 + node.visits + waiting)
        return discounted(node, waiting, settings) + bonus

    def uct_score(parent: int, child: int) -> float:
        node, waiting = tree.nodes[child], traffic.count(child)
        visits = node.visits + waiting
        if not visits:
            return _UNVISITED + node.prior
        all_visits = max(tree.nodes[parent].visits + traffic.count(parent), 1)
        return discounted(node, waiting, settings) + settings.c_puct * math.sqrt(math.log(all_visits) / visits)

    return uct_score if settings.selection == "uct" else puct_score


_UNVISITED = 1e9


def discounted(node: Node, waiting: int, settings: SearchSettings) -> float:
    """Q of `node`, with each of `waiting` iterations taken for `virtual_loss` wrong answers."""
    lost = settings.virtual_loss * waiting
    if not lost:
        return node.value
    return (node.value * node.visits + settings.wrong_reward * lost) / (node.visits + lost)


def candidates(tree: SearchTree, node: int, closed: AbstractSet[int] = frozenset()) -> list[int]:
    """Children of `node` that selection may enter, lowest index first."""
    children = sorted(tree.nodes[node].children)
    return [c for c in children if tree.nodes[c].origin is NodeOrigin.EXPANSION and c not in closed]


def select(tree: SearchTree, score: Score, closed: AbstractSet[int] = frozenset()) -> int:
    """The leaf reached from the root by the best child at each node: a terminal, or a node with no child to enter."""
    node = ROOT
    while not tree.nodes[node].is_terminal and (children := candidates(tree, node, closed)):
        parent = node
        node = max(children, key=lambda child: score(parent, child))
    return node


def select_free(tree: SearchTree, score: Score, closed: AbstractSet[int], traffic: Traffic) -> int | None:
    """As `select`, but around the leaves that iterations in flight wait at; None where only waiting is left.

    While anything is in flight terminals are passed over too: they would spend iterations on what is known, and the
    more of them the longer a reply takes.
    """
    leaf = select(tree, score, closed)
    blocked: set[int] = set()
    while leaf in traffic.leaves or (traffic.leaves and tree.nodes[leaf].is_terminal):
        blocked |= _fully_blocked(tree, leaf, closed, blocked)
        if ROOT in blocked:
            return None
        leaf = select(tree, score, closed | blocked)
    return leaf


def _fully_blocked(tree: SearchTree, leaf: int, closed: AbstractSet[int], blocked: AbstractSet[int]) -> set[int]:
    """`leaf` and those of its ancestors that have no other child to enter."""
    found = {leaf}
    for node in reversed(tree.path(leaf)[:-1]):
        if any(child not in blocked | found for child in candidates(tree, node, closed)):
            break
        found.add(node)
    return found


def priors(logprobs: Sequence[float], num_tokens: Sequence[int], *, length_normalised: bool) -> list[float]:
    """Softmax over siblings of their summed log-probability [nats], divided by their tokens if `length_normalised`."""
    if not logprobs:
        return []
    scores = [
        logprob / max(tokens, 1) if length_normalised else logprob
        for logprob, tokens in zip(logprobs, num_tokens, strict=True)
    ]
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    return [weight / math.fsum(weights) for weight in weights]
