"""A small finished run written by hand into a store: four problems, all arms, one tree told with two wrong turns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from retrograde.core.problem import Cost, Grade, Problem, Provenance, Verdict
from retrograde.core.rewrite import rewrite_by_template
from retrograde.core.settings import RewriteSettings
from retrograde.core.solution import Move, MoveKind, SearchTrace, Solution
from retrograde.core.tree import ROOT, Node, NodeOrigin, SearchTree
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import load_task
from retrograde.v1 import run_pb2
from retrograde.wire.convert import cost_to_proto, tree_to_proto
from retrograde.wire.convert_solution import SolutionSet, solution_set_to_proto

PREFIX = "runs/small"
PROBLEM = Problem("p0", "countdown", "Numbers: 3 7 7, target: 28.", "28", "generated", "3")
RIGHT = Grade(Verdict.CORRECT, "reached 28", "28")
_WRONG_34, _WRONG_14 = Grade(Verdict.INCORRECT, "", "34"), Grade(Verdict.INCORRECT, "", "14")
_TREE = (
    (0, " 7 + 3 = 10, left: 7 10\n", 4, 0.25, None),
    (0, " 7 * 3 = 21, left: 7 21\n", 6, 0.5, None),
    (1, " 10 + 7 = 17, the target is 28: no.\n", 2, 0.0, Grade(Verdict.INCORRECT, "", "17")),
    (2, " 21 - 7 = 14, the target is 28: no.\n", 2, 0.0, _WRONG_14),
    (2, " 21 + 7 = 28, the target is 28: yes, the answer is \\boxed{28}.\n", 4, 1.0, RIGHT),
    (1, " 10 - 7 = 3, the target is 28: no.\n", 1, 0.0, Grade(Verdict.INCORRECT, "", "3")),
)
"""(parent, step, visits, value, grade) of the nodes after the root."""
_YES = "the answer is \\boxed{28}."
SAMPLES: Mapping[str, Sequence[Sequence[tuple[bool, int, int]]]] = {
    "base": [[(True, 20, 0), (False, 20, 0)]] + [[(False, 20, 0), (False, 20, 0)]] * 3,
    "best_of_n": [[(True, 20, 0), (False, 20, 0), (False, 20, 0)]] * 2 + [[(False, 20, 0)] * 3] * 2,
    "direct_sft": [[(True, 20, 0), (True, 20, 0)]] + [[(True, 20, 0), (False, 20, 0)]] * 2 + [[(False, 20, 0)] * 2],
    "astro_sft": [[(True, 30, 1), (True, 50, 2)]] * 3 + [[(True, 40, 1), (False, 60, 3)]],
}
"""Per arm and problem: (right, tokens, backtracks) of each sample."""


def tree() -> SearchTree:
    """Six nodes under the root, one of them right."""
    grown = SearchTree(PROBLEM, provenance=Provenance("small", "abc", "0.1.0+deadbee", cost=Cost(90, 120, 6, 1.0, 0.5)))
    grown.nodes[ROOT].visits = 10
    for parent, step, visits, value, grade in _TREE:
        grown.add(Node(parent, NodeOrigin.EXPANSION, step, visits=visits, value=value, prior=0.5, grade=grade))
    return grown


def trace() -> SearchTrace:
    """Two wrong turns, each returned from to the deepest common ancestor, then the right end."""
    step, back = MoveKind.STEP, MoveKind.BACKTRACK
    moves = ((step, 1), (step, 3), (back, 0), (step, 2), (step, 4), (back, 2), (step, 5))
    return SearchTrace("trees/p0", tuple(Move(kind, node) for kind, node in moves), (3, 4, 5))


def solution() -> Solution:
    """The trace in words."""
    return rewrite_by_template(tree(), trace(), load_task("countdown"), RewriteSettings())


def store_run(store: ObjectStore) -> None:
    """Writes every artifact a report reads."""
    recipe = {"name": "small", "seed": 7, "task": "countdown", "evaluate": {"majority": 2, "num_samples": 2}}
    store.put(f"{PREFIX}/recipe.json", json.dumps(recipe).encode())
    store.put(f"{PREFIX}/run.pb", _run().SerializeToString())
    problems = [PROBLEM, *(Problem(f"p{i}", "countdown", f"Numbers: 1 2 {i}, target: 3.", "3") for i in (1, 2, 3))]
    for split in ("search", "evaluate"):
        store.put(f"{PREFIX}/problems/{split}.jsonl", _lines([asdict(problem) for problem in problems]))
    store.put(f"{PREFIX}/trees/p0.pb", tree_to_proto(tree()).SerializeToString())
    solutions = SolutionSet("p0", (solution(),), {"duplicate": 2})
    store.put(f"{PREFIX}/solutions/p0.pb", solution_set_to_proto(solutions).SerializeToString())
    for arm, samples in SAMPLES.items():
        store.put(f"{PREFIX}/evaluations/{arm}.jsonl", _lines(_rows(samples)))
    for step, reward in enumerate((-0.5, 0.0, 0.25), start=1):
        values = {"step": step, "reward": reward, "completions/mean_length": 40.0 + step, "backtracks": 1.0 + step / 4}
        store.put(f"{PREFIX}/jobs/astro_rl/steps/{step:06d}.json", json.dumps(values).encode())


def _rows(samples: Sequence[Sequence[tuple[bool, int, int]]]) -> list[dict[str, object]]:
    return [
        {
            "problem_id": f"p{problem}",
            "sample": sample,
            "verdict": "correct" if right else "incorrect",
            "answer": "28" if right else "",
            "num_tokens": tokens,
            "backtracks": backtracks,
            "valid_backtracks": backtracks,
            "text": f" 21 + 7 = 28: yes, {_YES}\n" if right else " 21 - 7 = 14, the target is 28: no.\n",
        }
        for problem, group in enumerate(samples)
        for sample, (right, tokens, backtracks) in enumerate(group)
    ]


def _run() -> run_pb2.Run:
    run = run_pb2.Run(id="small", recipe_hash="abc", state=run_pb2.RUN_STATE_RUNNING)
    stages = (("search", Cost(90, 120, 6, 2.0, 0.5)), ("sft astro", Cost(wall_seconds=3.0, accelerator_seconds=2.5)))
    for name, cost in stages:
        run.stages.add(name=name, state=run_pb2.RUN_STATE_SUCCEEDED, cost=cost_to_proto(cost))
    return run


def _lines(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
