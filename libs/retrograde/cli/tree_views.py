"""A tree in figures and in lines: `retrograde tree show` and `diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from retrograde.core.problem import Problem
from retrograde.core.tree import ROOT, Node, SearchTree

_NOT_COMPARED = frozenset({"parent", "children", "reward"})
_STEP_CHARS = 100

T = TypeVar("T", Node, Problem)
Figures = Mapping[str, str | int | float]


def statistics(tree: SearchTree) -> dict[str, str | int | float]:
    """Figures of a tree, by name."""
    cost = tree.provenance.cost
    ends = Counter(node.grade.verdict.value for node in tree.nodes if node.grade)
    inner = [node for node in tree.nodes if node.children]
    return {
        "problem": tree.problem.id,
        "iterations": tree.num_iterations,
        "nodes": len(tree.nodes),
        "expanded": sum(node.expanded for node in tree.nodes),
        "deepest": max(_depths(tree)),
        "children per inner node": round(sum(len(node.children) for node in inner) / len(inner), 2) if inner else 0.0,
        **{f"ends {verdict}": count for verdict, count in sorted(ends.items())},
        "root visits": tree.nodes[ROOT].visits,
        "root value": round(tree.nodes[ROOT].value, 4),
        "prompt tokens": cost.prompt_tokens,
        "generated tokens": cost.generated_tokens,
        "verifier calls": cost.verifier_calls,
        "seconds of calls": round(cost.wall_seconds, 3),
        "engine seconds": round(cost.accelerator_seconds, 3),
        "policy version": tree.provenance.policy_version,
        "seed": tree.provenance.seed,
    }


def best_path(tree: SearchTree) -> list[int]:
    """From the root to the right end with the most visits on its path; without one, by most visits while there are."""
    right = [index for index in tree.terminals() if tree.nodes[index].is_correct]
    if right:
        return max((tree.path(end) for end in right), key=lambda path: _visits(tree, path))
    path = [ROOT]
    while visited := [child for child in tree.nodes[path[-1]].children if tree.nodes[child].visits]:
        path.append(max(visited, key=lambda child: (tree.nodes[child].visits, tree.nodes[child].value, -child)))
    return path


def _visits(tree: SearchTree, path: Sequence[int]) -> tuple[list[int], int]:
    """Of two paths the greater one was visited more from the first step on; of equals the older end's."""
    return [tree.nodes[index].visits for index in path], -path[-1]


def subtree(tree: SearchTree, root: int, depth: int) -> Iterator[int]:
    """`root` and what is at most `depth` steps below it, parents first."""
    yield root
    if depth > 0:
        for child in tree.nodes[root].children:
            yield from subtree(tree, child, depth - 1)


def node_row(tree: SearchTree, index: int) -> dict[str, Any]:
    """A node for programs."""
    node = tree.nodes[index]
    return {
        "node": index,
        "parent": node.parent,
        "origin": node.origin.value,
        "visits": node.visits,
        "value": node.value,
        "prior": node.prior,
        "logprob": node.logprob,
        "num_tokens": node.num_tokens,
        "step": node.step,
        "verdict": node.grade.verdict.value if node.grade else None,
        "reason": node.grade.reason if node.grade else None,
    }


def figures_view(columns: Mapping[str, Figures]) -> Table:
    """Statistics side by side, a column a tree; rows that differ stand out."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    table = Table("", *columns, show_header=len(columns) > 1)
    for name in names:
        cells = [str(figures.get(name, "")) for figures in columns.values()]
        table.add_row(name, *map(Text, cells), style="yellow" if len(set(cells)) > 1 else "")
    return table


def path_view(tree: SearchTree) -> Text:
    """The best path, a line a step."""
    lines = Text("best path", style="bold")
    for index in best_path(tree)[1:]:
        lines.append("\n").append(node_label(tree, index))
    return lines


def subtree_view(tree: SearchTree, root: int, depth: int) -> Tree:
    """`root` and what is at most `depth` steps below it; what is cut off is counted."""
    view = Tree(node_label(tree, root))
    branches, depths = {root: view}, {root: 0}
    for index in subtree(tree, root, depth):
        node = tree.nodes[index]
        if index != root:
            depths[index] = depths[node.parent] + 1
            branches[index] = branches[node.parent].add(node_label(tree, index))
        if depths[index] == depth and node.children:
            branches[index].add(Text(f"… {len(node.children)} children", style="dim"))
    return view


def node_label(tree: SearchTree, index: int) -> Text:
    """Number, verdict, visits, value, prior and step of a node, in one line."""
    node = tree.nodes[index]
    style = "green" if node.is_correct else "red" if node.is_terminal else ""
    text = " ".join((node.step if index != ROOT else tree.problem.statement).split())
    label = Text(f"{index}  ", style="dim")
    label.append(text if len(text) <= _STEP_CHARS else f"{text[:_STEP_CHARS]}…", style=style)
    label.append(f"   N {node.visits}  Q {node.value:.3f}  P {node.prior:.3f}", style="dim")
    return label.append(f"  {node.grade.verdict.value}", style=style) if node.grade else label


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two trees first differ: the steps from the root, and what is different there."""

    path: tuple[str, ...]
    detail: str


def first_difference(one: SearchTree, other: SearchTree) -> Difference | None:
    """The first difference, the trees walked side by side from the root, children in their order; None if equal."""
    if detail := _differs(one.problem, other.problem):
        return Difference((), f"problem's {detail}")
    if one.num_iterations != other.num_iterations:
        return Difference((), f"iterations: {one.num_iterations} and {other.num_iterations}")
    pairs = [(ROOT, ROOT)]
    while pairs:
        left, right = pairs.pop()
        a, b = one.nodes[left], other.nodes[right]
        path = tuple(one.steps(left))
        if detail := _differs(a, b) or _children_differ(one, a, other, b):
            return Difference(path, detail)
        pairs += reversed(list(zip(a.children, b.children, strict=True)))
    return None


def _differs(a: T, b: T) -> str:
    """The first field in which they differ, with both values; "" if in none."""
    for each in fields(a):
        if each.name in _NOT_COMPARED:
            continue
        if (left := getattr(a, each.name)) != (right := getattr(b, each.name)):
            return f"{each.name}: {left} and {right}"
    return ""


def _children_differ(one: SearchTree, a: Node, other: SearchTree, b: Node) -> str:
    left = [one.nodes[child].step for child in a.children]
    right = [other.nodes[child].step for child in b.children]
    if left == right:
        return ""
    position = next(
        (i for i, (x, y) in enumerate(zip(left, right, strict=False)) if x != y), min(len(left), len(right))
    )
    shown = [repr(steps[position]) if position < len(steps) else "none" for steps in (left, right)]
    return f"child {position}: {shown[0]} and {shown[1]}"


def _depths(tree: SearchTree) -> list[int]:
    depths: list[int] = []
    for node in tree.nodes:
        depths.append(depths[node.parent] + 1 if depths else 0)
    return depths
