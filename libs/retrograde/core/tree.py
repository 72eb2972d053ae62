"""The search tree: a flat arena in which a node is its index.

State = problem + the steps from the root; action = the next step. Nodes are only ever appended, so an index is stable
for the life of the tree, and the tree serialises as one list.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from retrograde.core.problem import Grade, Problem, Provenance, Verdict

ROOT = 0


class NodeOrigin(enum.Enum):
    """How a node entered the tree."""

    ROOT = "root"
    EXPANSION = "expansion"  # proposed by an expansion: takes part in selection
    ROLLOUT = "rollout"  # kept from a rollout: a further terminal for the linearizer, never selected


@dataclass(slots=True)
class Node:
    """A step and its statistics.

    `logprob` is the step's summed log-probability in nats, `num_proposed` how often its parent's expansion said it,
    `prior` is pi(a|S) among its siblings, `visits` is N(S,a),
    `value` is Q(S,a). `grade` is set on terminals only. `reward` is R(S), what the node's own evaluation gave: its
    verdict's reward on a terminal, the mean over its rollouts elsewhere, None while there is none. It is not stored
    with the tree: Q and N hold it, and a search is continued from its log.
    """

    parent: int
    origin: NodeOrigin
    step: str = ""
    logprob: float = 0.0
    num_tokens: int = 0
    prior: float = 0.0
    visits: int = 0
    value: float = 0.0
    expanded: bool = False
    grade: Grade | None = None
    children: list[int] = field(default_factory=list)
    num_proposed: int = 0
    reward: float | None = field(default=None, compare=False)

    @property
    def is_terminal(self) -> bool:
        """Whether the solution ends here."""
        return self.grade is not None

    @property
    def is_correct(self) -> bool:
        """Whether the solution ends here, rightly."""
        return self.grade is not None and self.grade.verdict is Verdict.CORRECT


@dataclass(slots=True)
class SearchTree:
    """A problem and everything tried on it; `nodes[0]` is the root."""

    problem: Problem
    nodes: list[Node] = field(default_factory=lambda: [Node(parent=-1, origin=NodeOrigin.ROOT)])
    num_iterations: int = 0
    provenance: Provenance = field(default_factory=Provenance)

    def add(self, node: Node) -> int:
        """Appends `node` under its parent and returns its index."""
        index = len(self.nodes)
        self.nodes.append(node)
        self.nodes[node.parent].children.append(index)
        return index

    def path(self, node: int) -> list[int]:
        """Indices from the root to `node`, both included."""
        path = []
        while node >= 0:
            path.append(node)
            node = self.nodes[node].parent
        return path[::-1]

    def steps(self, node: int) -> list[str]:
        """Texts of the steps from the root to `node`; the root has none."""
        return [self.nodes[index].step for index in self.path(node)[1:]]

    def depth(self, node: int) -> int:
        """Steps from the root to `node`."""
        return len(self.path(node)) - 1

    def terminals(self) -> Iterator[int]:
        """Indices of all terminals, oldest first."""
        return (index for index, node in enumerate(self.nodes) if node.is_terminal)
