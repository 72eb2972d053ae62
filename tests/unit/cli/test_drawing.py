"""A watched search on a terminal and into a file."""

from __future__ import annotations

import io

from rich.console import Console

from retrograde.cli.searching import Drawing
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.v1 import search_service_pb2 as pb
from retrograde.wire.convert import tree_to_proto

PROBLEM = Problem("p", "countdown", "Numbers: 1 2, target: 3.", "3")


def message(iteration: int, *, solved: bool = False) -> pb.SearchResponse:
    """Progress; with the tree once it is solved."""
    told = pb.SearchResponse(
        iteration=iteration,
        num_iterations=8,
        num_nodes=2,
        num_correct=int(solved),
        tokens_per_second=1234.4,
        num_in_flight=3,
        remaining_seconds=0.0 if solved else 90.0 / iteration,
    )
    told.cost.generated_tokens = 1000 * iteration
    if solved:
        tree = SearchTree(PROBLEM)
        tree.add(Node(0, NodeOrigin.EXPANSION, " 1 + 2 = 3\n", visits=1, grade=Grade(Verdict.CORRECT)))
        told.tree.CopyFrom(tree_to_proto(tree))
    return told


def drawn(*, terminal: bool) -> tuple[Drawing, str]:
    console = Console(file=io.StringIO(), width=160, force_terminal=terminal)
    with Drawing(console, PROBLEM) as drawing:
        for each in (message(1), message(2), message(2, solved=True)):
            drawing.show(each)
    return drawing, console.file.getvalue()


def test_without_a_terminal_an_iteration_is_a_line_and_the_tree_comes_last() -> None:
    """Iterations, nodes, right ends, tokens and their rate, once each; then the tree, once."""
    drawing, said = drawn(terminal=False)
    first, second, *tree = said.splitlines()
    assert first == "iteration 1/8   2 nodes   0 right   1,000 tokens   1,234 tokens/s   3 in flight   1 min 30 s left"
    assert second.startswith("iteration 2/8")
    assert [" ".join(line.split()) for line in tree] == ["Numbers: 1 2, target: 3.", "└── 1 + 2 = 3 N 1 Q 0.00 P 0.00"]
    assert drawing.tree.nodes[1].is_correct


def test_on_a_terminal_the_tree_is_drawn_over_itself() -> None:
    """The last picture holds the solved tree under its headline; the cursor is given back."""
    drawing, said = drawn(terminal=True)
    assert drawing.tree.nodes[1].is_correct
    assert "1 + 2 = 3" in said
    assert "1 right" in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1
