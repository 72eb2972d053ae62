"""What must hold of every stored tree, whatever search made it; `retrograde tree check` looks.

A node's own reward R is not stored. It is what the backup formula leaves of the node's value, so that the formula is
checked through R: nothing where the node was never evaluated itself, and between a wrong and a right answer's reward
where it was.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields

from retrograde.core.problem import Cost, Verdict
from retrograde.core.tree import ROOT, Node, NodeOrigin, SearchTree

_TOLERANCE = 1e-6
_WRONG = frozenset({Verdict.INCORRECT, Verdict.UNPARSABLE})


@dataclass(frozen=True, slots=True)
class TreeViolation:
    """What is wrong, and at which node (-1: with the whole)."""

    node: int
    detail: str


def check_tree(tree: SearchTree) -> list[TreeViolation]:
    """Everything that is wrong with `tree`, node by node; empty if it is sound."""
    found = list(_cost_faults(tree.provenance.cost))
    wrong_reward = _wrong_reward(tree)
    for index, node in enumerate(tree.nodes):
        checks = (_shape_faults, _end_faults, _prior_faults, _visit_faults)
        found += [TreeViolation(index, detail) for check in checks for detail in check(tree, index, node)]
        found += [TreeViolation(index, detail) for detail in _value_faults(tree, node, wrong_reward)]
    return found


def _wrong_reward(tree: SearchTree) -> float | None:
    """The reward of a wrong answer, read from the first visited wrong terminal; None if there is none."""
    visited = (node for node in tree.nodes if node.grade and node.grade.verdict in _WRONG and node.visits)
    return next((node.value for node in visited), None)


def _cost_faults(cost: Cost) -> Iterator[TreeViolation]:
    for each in fields(cost):
        value = getattr(cost, each.name)
        if not math.isfinite(value) or value < 0:
            yield TreeViolation(-1, f"cost.{each.name} is {value}: a cost is finite and not negative")


def _shape_faults(tree: SearchTree, index: int, node: Node) -> Iterator[str]:
    if (node.origin is NodeOrigin.ROOT) != (index == ROOT):
        yield f"origin is {node.origin.value}: the first node and no other is the root"
    texts = Counter(tree.nodes[child].step for child in node.children)
    for text, count in texts.items():
        if count > 1:
            yield f"{count} children say {text[:40]!r}: siblings differ"
    for name in ("logprob", "prior", "value"):
        if not math.isfinite(getattr(node, name)):
            yield f"{name} is {getattr(node, name)}: it is a number"


def _end_faults(_tree: SearchTree, _index: int, node: Node) -> Iterator[str]:
    if node.is_terminal and node.children:
        yield f"a terminal with {len(node.children)} children: nothing follows an end"
    if node.origin is NodeOrigin.ROLLOUT and not node.children and not node.is_terminal:
        yield "the end of a kept rollout without a grade"
    if node.grade and node.grade.verdict in {Verdict.TIMEOUT, Verdict.ERROR} and node.visits:
        yield f"{node.visits} visits of an end without a verdict ({node.grade.verdict.value}): it has no reward"


def _prior_faults(tree: SearchTree, _index: int, node: Node) -> Iterator[str]:
    proposed = [tree.nodes[child] for child in node.children if tree.nodes[child].origin is NodeOrigin.EXPANSION]
    total = math.fsum(child.prior for child in proposed)
    if proposed and not node.expanded:
        yield f"{len(proposed)} proposed children of a node that was not expanded"
    if proposed and abs(total - 1) > _TOLERANCE:
        yield f"its children's priors sum to {total:.6f}, not 1"
    if node.prior < 0:
        yield f"prior is {node.prior}: it is a probability"


def _visit_faults(tree: SearchTree, _index: int, node: Node) -> Iterator[str]:
    below = sum(tree.nodes[child].visits for child in node.children)
    if below > node.visits:
        yield f"{node.visits} visits, but {below} of its children: each visit of a child is one of its parent"


def _value_faults(tree: SearchTree, node: Node, wrong_reward: float | None) -> Iterator[str]:
    below = sum(tree.nodes[child].visits for child in node.children)
    total = math.fsum(tree.nodes[child].value * tree.nodes[child].visits for child in node.children)
    if node.visits <= below:  # never evaluated itself
        mean = total / below if below else 0.0
        if abs(node.value - mean) > _TOLERANCE:
            yield f"value is {node.value:.6f}: the mean over its children's visits is {mean:.6f}"
        return
    own = node.value * (below + 1) - total
    if node.grade and node.grade.verdict is Verdict.CORRECT:
        low = 1.0
    else:
        low = float("-inf") if wrong_reward is None else wrong_reward
    high = low if node.grade and wrong_reward is not None else 1.0
    slack = _TOLERANCE * (below + 1)
    if not low - slack <= own <= high + slack:
        yield f"value is {node.value:.6f}: that leaves {own:.6f} for its own reward, outside of {low:g} to {high:g}"
