"""A search tree as a dendrogram: the root left, a row for every leaf, the chosen walk over it.

The walk's steps are thick lines; each return is a dashed arrow from where a wrong branch was left to the ancestor the
walk went on from. Trees too large for a page are cut to the walk's nodes and the most visited others.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrograde.analysis import svg
from retrograde.core.solution import MoveKind, SearchTrace
from retrograde.core.tree import ROOT, Node, SearchTree

_ROW, _MARGIN, _TOP = 21.0, 12.0, 16.0
_MAX_NODES = 72
_WIDEST, _NARROWEST, _PAGE = 235.0, 96.0, 960.0
_PIXELS_PER_LETTER = 6.1


@dataclass(frozen=True, slots=True)
class _Layout:
    column: float
    at: dict[int, svg.Point]
    num_hidden: int


def draw_tree(tree: SearchTree, trace: SearchTrace) -> str:
    """The drawing, with as many nodes as fit."""
    walked = {move.node for move in trace.moves} | {ROOT}
    right = set(tree.path(trace.terminals[-1]))
    shown = _shown(tree, walked)
    layout = _layout(tree, shown)
    edges = [_edge(tree, layout, node, walked, right) for node in sorted(shown) if node != ROOT]
    nodes = [_node(tree.nodes[node], node, layout, walked) for node in sorted(shown)]
    width = max(x for x, _ in layout.at.values()) + layout.column + 30
    height = max(y for _, y in layout.at.values()) + _ROW + (_ROW if layout.num_hidden else 0)
    note = f"{layout.num_hidden} less visited nodes are not drawn" if layout.num_hidden else ""
    content = [*edges, *_returns(trace, layout), *nodes, svg.text(_MARGIN, height - 6, note, "tick")]
    return svg.drawing(width, height, content, f"search tree of {tree.problem.id}", least=0.75)


def _shown(tree: SearchTree, walked: set[int]) -> set[int]:
    """The walk, then whole paths to the most visited nodes while there is room."""
    shown = set(walked)
    order = sorted(range(len(tree.nodes)), key=lambda i: (-tree.nodes[i].visits, i))
    for node in order:
        path = set(tree.path(node))
        if len(shown | path) <= max(_MAX_NODES, len(walked)):
            shown |= path
    return shown


def _layout(tree: SearchTree, shown: set[int]) -> _Layout:
    """Leaves get rows in depth-first order; a parent stands in the middle of its children."""
    depths = {node: len(tree.path(node)) - 1 for node in shown}
    deepest = max(1, *depths.values()) if len(depths) > 1 else 1
    column = min(_WIDEST, max(_NARROWEST, _PAGE / (deepest + 1)))
    rows: dict[int, float] = {}
    num_leaves = 0
    for node in _postorder(tree, shown):
        children = [rows[child] for child in tree.nodes[node].children if child in shown]
        rows[node] = (children[0] + children[-1]) / 2 if children else float(num_leaves)
        num_leaves += not children
    at = {node: (_MARGIN + depths[node] * column, _TOP + row * _ROW) for node, row in rows.items()}
    return _Layout(column, at, len(tree.nodes) - len(shown))


def _postorder(tree: SearchTree, shown: set[int]) -> list[int]:
    order, waiting = [], [ROOT]
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting.extend(child for child in tree.nodes[node].children if child in shown)
    return order[::-1]


def _edge(tree: SearchTree, layout: _Layout, node: int, walked: set[int], right: set[int]) -> str:
    parent = tree.nodes[node].parent
    class_ = "edge walked" if node in right else "edge off" if node in walked else "edge"
    return svg.sideways(layout.at[parent], layout.at[node], class_)


def _node(node: Node, index: int, layout: _Layout, walked: set[int]) -> str:
    x, y = layout.at[index]
    kind = "right" if node.is_correct else "wrong" if node.is_terminal else node.origin.value
    radius = min(7.0, 3.0 + 0.5 * node.visits**0.5)
    note = f"node {index}: N = {node.visits}, Q = {node.value:.2f}, prior = {node.prior:.2f}\n{node.step.strip()}"
    label = _shorten(node.step if index != ROOT else "problem", layout.column)
    told = " told" if index in walked else ""
    return svg.dot((x, y), radius, f"node {kind}{told}", note) + svg.text(x + 9, y - 5, label, f"twig {kind}{told}")


def _returns(trace: SearchTrace, layout: _Layout) -> list[str]:
    arrows, here = [], ROOT
    for move in trace.moves:
        if move.kind is MoveKind.BACKTRACK and here in layout.at and move.node in layout.at:
            arrows.append(svg.arc(layout.at[here], layout.at[move.node], 16.0, "back"))
        here = move.node
    return arrows


def _shorten(step: str, column: float) -> str:
    words = " ".join(step.split())
    room = int((column - 16) / _PIXELS_PER_LETTER)
    return words if len(words) <= room else words[: room - 1] + "…"
