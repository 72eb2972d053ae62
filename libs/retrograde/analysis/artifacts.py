"""What a run left in the store, read once: the only module of this package that touches the ObjectStore.

    evaluations/<arm>.jsonl      -> Row, one per sample
    trees/*.pb, solutions/*.pb   -> counts, and the one pair worth drawing
    jobs/<arm>/steps/*.json      -> one mapping per optimiser step
    run.pb, recipe.json          -> stages with their cost, and what was asked for

Missing parts are empty parts, so that a run can be reported on while it goes or after it was cut short; a part that is
there and cannot be read is an error that names its key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from retrograde.core.problem import Problem, Provenance, Verdict
from retrograde.core.solution import Solution, SolutionKind
from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2, solution_pb2, tree_pb2
from retrograde.wire.convert import tree_from_proto
from retrograde.wire.convert_solution import solution_set_from_proto

Metrics = Mapping[str, float]

ARMS = ("base", "best_of_n", "direct_sft", "direct_rl", "astro_sft", "astro_rl")
"""Every arm a report may show, in the order in which it shows them."""
_SHOWN_NODES = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One graded sample of an arm."""

    problem_id: str
    sample: int
    verdict: Verdict
    answer: str
    num_tokens: int
    backtracks: int
    valid_backtracks: int
    text: str

    @property
    def is_correct(self) -> bool:
        """Whether the verifier accepted it."""
        return self.verdict is Verdict.CORRECT


@dataclass(slots=True)
class SearchFacts:
    """All trees and solutions of the run, counted."""

    trees: int = 0
    solved: int = 0
    valid: int = 0
    nodes: int = 0
    generated_tokens: int = 0
    direct: int = 0
    search: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    rewriters: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Example:
    """A tree and the solution told from it."""

    tree: SearchTree
    solution: Solution


@dataclass(slots=True)
class RunArtifacts:
    """Everything a report is made from. `problems` are by split, `rows` by arm, `steps` by training job."""

    run: run_pb2.Run
    recipe: dict[str, Any]
    problems: dict[str, list[Problem]]
    rows: dict[str, list[Row]]
    steps: dict[str, list[Metrics]]
    facts: SearchFacts
    example: Example | None
    provenance: Provenance


def read_run(store: ObjectStore, prefix: str) -> RunArtifacts:
    """Reads the run under `prefix`, "runs/<run>". Raises NotFoundError, or InvalidInputError that names a key."""
    base = prefix.rstrip("/")
    run = run_pb2.Run.FromString(_need(store, f"{base}/run.pb"))
    facts, example, provenance = _read_search(store, base)
    return RunArtifacts(
        run=run,
        recipe=json.loads(_get(store, f"{base}/recipe.json") or b"{}"),
        problems={split: _problems(store, f"{base}/problems/{split}.jsonl") for split in ("search", "rl", "evaluate")},
        rows={arm: rows for arm in ARMS if (rows := _rows(store, f"{base}/evaluations/{arm}.jsonl"))},
        steps={arm: steps for arm in ARMS if (steps := _steps(store, f"{base}/jobs/{arm}/steps/"))},
        facts=facts,
        example=example,
        provenance=provenance,
    )


def _need(store: ObjectStore, key: str) -> bytes:
    try:
        return store.get(key)
    except NotFoundError as error:
        raise NotFoundError(f"{key}: there is no such run; give the prefix of one, runs/<run>") from error


def _get(store: ObjectStore, key: str) -> bytes:
    return store.get(key) if store.exists(key) else b""


def _lines(store: ObjectStore, key: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_get(store, key).decode().splitlines(), start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise InvalidInputError(f"{key}: line {number} is not JSON: {error.msg}") from error


def _problems(store: ObjectStore, key: str) -> list[Problem]:
    return [Problem(**line) for line in _lines(store, key)]


def _rows(store: ObjectStore, key: str) -> list[Row]:
    try:
        return [_row(line) for line in _lines(store, key)]
    except (KeyError, ValueError) as error:
        raise InvalidInputError(f"{key}: a line lacks or misspells {error}") from error


def _row(line: Mapping[str, Any]) -> Row:
    return Row(
        problem_id=line["problem_id"],
        sample=line["sample"],
        verdict=Verdict(line["verdict"]),
        answer=line["answer"],
        num_tokens=line["num_tokens"],
        backtracks=line["backtracks"],
        valid_backtracks=line["valid_backtracks"],
        text=line["text"],
    )


def _steps(store: ObjectStore, prefix: str) -> list[Metrics]:
    return [json.loads(store.get(key)) for key in store.list(prefix)]


def _read_search(store: ObjectStore, base: str) -> tuple[SearchFacts, Example | None, Provenance]:
    """Counts every tree and its solutions, and keeps the pair that shows most on little room."""
    facts, example, best, provenance = SearchFacts(), None, -1.0, Provenance()
    for key in store.list(f"{base}/trees/"):
        tree = tree_from_proto(tree_pb2.SearchTree.FromString(store.get(key)))
        provenance = tree.provenance
        _count_tree(facts, tree)
        solutions = _read_solutions(store, f"{base}/solutions/{tree.problem.id}.pb", facts)
        for solution in solutions:
            if (score := _worth_showing(tree, solution)) > best:
                example, best = Example(tree, solution), score
    return facts, example, provenance


def _count_tree(facts: SearchFacts, tree: SearchTree) -> None:
    facts.trees += 1
    facts.solved += any(node.is_correct for node in tree.nodes)
    facts.nodes += len(tree.nodes)
    facts.generated_tokens += tree.provenance.cost.generated_tokens


def _read_solutions(store: ObjectStore, key: str, facts: SearchFacts) -> list[Solution]:
    data = _get(store, key)
    if not data:
        return []
    stored = solution_set_from_proto(solution_pb2.SolutionSet.FromString(data))
    facts.valid += bool(stored.solutions)
    facts.rejected.update(stored.rejected)
    for solution in stored.solutions:
        facts.rewriters[solution.rewriter.value] += 1
        if solution.kind is SolutionKind.DIRECT:
            facts.direct += 1
        else:
            facts.search += 1
    return list(stored.solutions)


def _worth_showing(tree: SearchTree, solution: Solution) -> float:
    """More returns are better, up to two; then the tree whose size is nearest to what a page holds."""
    size = len(tree.nodes)
    return min(solution.trace.num_backtracks, 2) + 1.0 / (1.0 + abs(size - _SHOWN_NODES) / _SHOWN_NODES)
