"""A chain of thought as a graph with its text: one row a sentence, a dot where it tells a step.

A dot's distance from the left is the step's depth in the tree, so a wrong branch leans out to the right and a return
is a dashed arrow back to the dot it goes on from.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from retrograde.analysis import svg
from retrograde.core.solution import Sentence, SentenceKind, Solution
from retrograde.core.tree import ROOT, SearchTree

_LINE, _PAD, _LEFT, _WIDTH = 19.0, 9.0, 18.0, 960.0
_GRAPH, _STEP = 170.0, 34.0
_LETTERS = 112


@dataclass(slots=True)
class _Row:
    """A sentence on the page: where its dot stands, if it has one."""

    sentence: Sentence
    lines: list[str]
    y: float
    dot: svg.Point | None


def draw_chain(tree: SearchTree, solution: Solution) -> str:
    """The drawing; it is as high as the text is long."""
    step = min(_STEP, (_GRAPH - 2 * _LEFT) / max(1, _deepest(tree, solution)))
    rows = list(_rows(tree, solution, step))
    root = (_LEFT, 14.0)
    words = [svg.text(_LEFT + _GRAPH, 18.0, " ".join(solution.prompt.split())[:_LETTERS], "sentence prompt")]
    height = rows[-1].y + _LINE * len(rows[-1].lines) + _PAD if rows else 30.0
    content = [*_links(tree, rows, root), svg.dot(root, 5.0, "node root", "problem"), *words]
    content += [_sentence(row) for row in rows]
    return svg.drawing(_WIDTH, height, content, f"chain of thought on {solution.problem.id}", least=0.75)


def _deepest(tree: SearchTree, solution: Solution) -> int:
    return max((len(tree.path(sentence.node)) - 1 for sentence in solution.sentences), default=1)


def _rows(tree: SearchTree, solution: Solution, step: float) -> Iterator[_Row]:
    y = 30.0
    for sentence in solution.sentences:
        lines = textwrap.wrap(sentence.text.strip(), _LETTERS) or [""]
        tells = sentence.kind in (SentenceKind.STEP, SentenceKind.ANSWER)
        x = _LEFT + step * (len(tree.path(sentence.node)) - 1)
        yield _Row(sentence, lines, y, (x, y + 10.0) if tells else None)
        y += _LINE * len(lines) + _PAD


def _links(tree: SearchTree, rows: list[_Row], root: svg.Point) -> list[str]:
    """Lines from each step to its parent's dot, and an arrow for each return."""
    told: dict[int, svg.Point] = {ROOT: root}
    links, here = [], root
    for row in rows:
        node = row.sentence.node
        if row.dot is not None:
            parent = told.get(tree.nodes[node].parent if node != ROOT else ROOT, here)
            links.append(svg.sideways(parent, row.dot, "edge walked" if row.sentence.on_path else "edge off"))
            told[node] = here = row.dot
        elif row.sentence.kind is SentenceKind.RETURN and node in told:
            links.append(svg.bow(here, told[node], 26.0, "back"))
            here = told[node]
    return links


def _sentence(row: _Row) -> str:
    kind = f"{row.sentence.kind.value}{'' if row.sentence.on_path else ' off'}"
    x = _LEFT + _GRAPH
    words = "".join(svg.text(x, row.y + 14 + _LINE * i, line, f"sentence {kind}") for i, line in enumerate(row.lines))
    if row.dot is None:
        return words
    return words + svg.dot(row.dot, 5.0, f"node {kind}", row.sentence.text.strip())
