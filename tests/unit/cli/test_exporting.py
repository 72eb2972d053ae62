"""Solutions and problems in the shapes of TRL and verl."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pyarrow import parquet
from test_run_folder import a_solution

from retrograde.cli.solutions import export_trl, export_verl
from retrograde.core.problem import Problem
from retrograde.core.solution import SolutionKind


def test_trl_is_one_file_a_kind(tmp_path: Path) -> None:
    """Direct and search solutions lie apart, as prompt and completion."""
    solutions = [a_solution("a"), a_solution("b", SolutionKind.SEARCH), a_solution("c")]
    assert export_trl(solutions, tmp_path) == 3
    direct = [json.loads(line) for line in (tmp_path / "direct.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in direct] == ["a", "c"]
    assert direct[0]["completion"] == " 2 + 1 = 3: yes\n"
    assert len((tmp_path / "search.jsonl").read_text("utf-8").splitlines()) == 1


def test_trl_chat_tasks_are_messages(tmp_path: Path) -> None:
    """A task asked by chat template is exported as messages of user and assistant."""
    asked = replace(a_solution("a").problem, task="math")
    solution = a_solution("a")
    solution.problem = asked
    export_trl([solution], tmp_path)
    row = json.loads((tmp_path / "direct.jsonl").read_text("utf-8"))
    assert row["prompt"] == [{"role": "user", "content": solution.prompt}]
    assert row["completion"] == [{"role": "assistant", "content": solution.completion}]


def test_verl_columns(tmp_path: Path) -> None:
    """RL prompts have verl's columns with the gold as rule; solutions become prompt and response."""
    problem = Problem("p", "countdown", "Numbers: 1 2, target: 3.", "3")
    assert export_verl([a_solution("a")], {"rl": [problem]}, tmp_path) == 2
    (row,) = parquet.read_table(tmp_path / "rl.parquet").to_pylist()
    assert row == {
        "data_source": "retrograde/countdown",
        "prompt": [{"role": "user", "content": "Numbers: 1 2, target: 3.\nSolution:\n"}],
        "ability": "countdown",
        "reward_model": {"style": "rule", "ground_truth": "3"},
        "extra_info": {"split": "rl", "index": 0, "id": "p", "statement": problem.statement, "source": "", "level": ""},
    }
    (taught,) = parquet.read_table(tmp_path / "sft.parquet").to_pylist()
    assert taught["response"] == " 2 + 1 = 3: yes\n"
