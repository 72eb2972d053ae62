"""Which leaf a search tries next: PUCT from the root down (paper, section on search).

A child's score is Q(S,a) + c_puct * pi(a|S) * sqrt(N(S)) / (1 + N(S,a)); the highest wins, the lowest index among
equals. Q of a child never visited is 0 (the paper is silent: ours). Only children proposed by an expansion take part;
those in `closed` can give no reward any more and are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from retrograde.core.tree import ROOT, Node, NodeOrigin, SearchTree


def puct(parent: Node, child: Node, c_puct: float) -> float:
    """The child's score: its value plus an exploration bonus that fades with its visits."""
    return child.value + c_puct * child.prior * math.sqrt(parent.visits) / (1 + child.visits)


def candidates(tree: SearchTree, node: int, closed: AbstractSet[int] = frozenset()) -> list[int]:
    """Children of `node` that selection may enter, lowest index first."""
    children = sorted(tree.nodes[node].children)
    return [c for c in children if tree.nodes[c].origin is NodeOrigin.EXPANSION and c not in closed]


def select(tree: SearchTree, c_puct: float, closed: AbstractSet[int] = frozenset()) -> int:
    """The leaf reached from the root by the best child at each node: a terminal, or a node with no child to enter."""
    node = ROOT
    while not tree.nodes[node].is_terminal and (children := candidates(tree, node, closed)):
        parent = tree.nodes[node]
        node = max(children, key=lambda child: puct(parent, tree.nodes[child], c_puct))
    return node


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
