"""What a run's search tells of itself while it goes on."""

from __future__ import annotations

from pathlib import Path

from retrograde.core.problem import Cost, Grade, Problem, Provenance, Verdict
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.runtime.adapters import open_store
from retrograde.wire.convert import tree_to_proto
from services.trainer.stages.grown_trees import GrownTrees

PREFIX = "runs/r/trees/"


def tree(name: str, tokens: int, *, solved: bool) -> bytes:
    grown = SearchTree(Problem(name, "countdown", "?", "1"), num_iterations=5)
    grown.provenance = Provenance(cost=Cost(generated_tokens=tokens, model_calls=2))
    grown.add(Node(0, NodeOrigin.EXPANSION, "x", grade=Grade(Verdict.CORRECT if solved else Verdict.INCORRECT)))
    return tree_to_proto(grown).SerializeToString()


def test_figures_are_of_all_trees_and_rates_of_what_came_since_the_first_look(tmp_path: Path) -> None:
    """One tree before the first look and two in ten seconds after it: 60 tokens a second, two more trees in ten."""
    clock = iter([100.0, 100.0, 110.0])
    store = open_store(f"file://{tmp_path}")
    trees = GrownTrees(store, PREFIX, lambda: next(clock))
    store.put(f"{PREFIX}a.pb", tree("a", 1000, solved=True))
    trees.read()
    assert trees.figures(5) == "1 solved, 5 iterations"
    store.put(f"{PREFIX}b.pb", tree("b", 200, solved=False))
    store.put(f"{PREFIX}c.pb", tree("c", 400, solved=True))
    trees.read()
    assert trees.figures(5) == "2 solved, 15 iterations, 60 tokens/s, 10 s left"
    assert (trees.ids, trees.cost) == ({"a", "b", "c"}, Cost(generated_tokens=1600, model_calls=6))


def test_a_tree_is_read_once(tmp_path: Path) -> None:
    """The second look lists, and reads nothing it has."""
    store = open_store(f"file://{tmp_path}")
    store.put(f"{PREFIX}a.pb", tree("a", 1000, solved=True))
    trees = GrownTrees(store, PREFIX)
    trees.read()
    store.put(f"{PREFIX}a.pb", b"")  # would be no tree any more
    trees.read()
    assert trees.cost.generated_tokens == 1000
