"""Solutions of a run, and the shapes in which other trainers read them.

TRL: JSON lines with `prompt` and `completion` (https://huggingface.co/docs/trl/dataset_formats).
verl: parquet with data_source, prompt, ability, reward_model, extra_info (verl documentation, "Prepare data").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retrograde.core.problem import Problem
from retrograde.core.solution import Solution
from retrograde.interop.verl import problem_row
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import load_task
from retrograde.v1 import solution_pb2
from retrograde.wire.convert_solution import solution_set_from_proto


def read_solutions(store: ObjectStore, prefix: str) -> Iterator[Solution]:
    """Every solution of the run under `prefix`, in the order of problem ids."""
    for key in store.list(f"{prefix}/solutions/"):
        message = solution_pb2.SolutionSet.FromString(store.get(key))
        yield from solution_set_from_proto(message).solutions


def read_problems(store: ObjectStore, prefix: str) -> dict[str, list[Problem]]:
    """The problems of each split that is stored."""
    problems = {}
    for split in ("search", "rl", "evaluate"):
        key = f"{prefix}/problems/{split}.jsonl"
        if store.exists(key):
            problems[split] = [Problem(**json.loads(line)) for line in store.get(key).decode().splitlines()]
    return problems


def solution_row(solution: Solution) -> dict[str, Any]:
    """One line of `solutions.jsonl`: TRL's prompt and completion, and where they came from."""
    provenance = solution.provenance
    return {
        "id": solution.id,
        "problem_id": solution.problem.id,
        "prompt": solution.prompt,
        "completion": solution.completion,
        "kind": solution.kind.value,
        "provenance": {
            "run_id": provenance.run_id,
            "recipe_hash": provenance.recipe_hash,
            "code_version": provenance.code_version,
            "policy_version": provenance.policy_version,
            "seed": provenance.seed,
            "tree_key": solution.trace.tree_key,
            "rewriter": solution.rewriter.value,
            "parent_keys": list(provenance.parent_keys),
        },
    }


def export_trl(solutions: Sequence[Solution], target: Path) -> int:
    """Writes `target`/{direct,search}.jsonl; chat tasks get messages where TRL expects them. Returns lines written."""
    target.mkdir(parents=True, exist_ok=True)
    for kind in sorted({solution.kind.value for solution in solutions}):
        rows = [_trl_row(solution) for solution in solutions if solution.kind.value == kind]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (target / f"{kind}.jsonl").write_text(lines, encoding="utf-8")
    return len(solutions)


def _trl_row(solution: Solution) -> dict[str, Any]:
    row = solution_row(solution)
    if load_task(solution.problem.task).chat:
        row["prompt"] = [{"role": "user", "content": solution.prompt}]
        row["completion"] = [{"role": "assistant", "content": solution.completion}]
    return row


def export_verl(solutions: Sequence[Solution], problems: dict[str, list[Problem]], target: Path) -> int:
    """Writes `target`/sft.parquet and one parquet of RL prompts per split. Returns rows written."""
    target.mkdir(parents=True, exist_ok=True)
    _parquet([_verl_sft_row(solution) for solution in solutions], target / "sft.parquet")
    for split, listed in problems.items():
        rows = [problem_row(problem, split, index) for index, problem in enumerate(listed)]
        _parquet(rows, target / f"{split}.parquet")
    return len(solutions) + sum(map(len, problems.values()))


def _verl_sft_row(solution: Solution) -> dict[str, Any]:
    return {
        "data_source": f"retrograde/{solution.problem.task}",
        "prompt": solution.prompt,
        "response": solution.completion,
        "extra_info": {"id": solution.id, "kind": solution.kind.value, "tree_key": solution.trace.tree_key},
    }


def _parquet(rows: list[dict[str, Any]], path: Path) -> None:
    if not rows:
        return
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional: only the verl export needs it
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise InvalidInputError("export: parquet needs pyarrow; install it: pip install pyarrow") from error
    parquet.write_table(pa.Table.from_pylist(rows), path)
