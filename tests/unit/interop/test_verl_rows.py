"""Problems as verl's parquet, and back; agent loops that are answered from a feed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from interop_groups import PROBLEM

from retrograde.core.problem import Problem
from retrograde.interop import verl
from retrograde.runtime.errors import InvalidInputError

FOREIGN: dict[str, Any] = {
    "data_source": "openai/gsm8k",
    "prompt": [{"role": "user", "content": "How many?"}],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "42"},
    "extra_info": {"split": "train", "index": 7},
}


def test_the_columns_are_verls() -> None:
    """A row has verl's five columns, the gold as a rule's ground truth."""
    assert verl.problem_row(PROBLEM, "rl", 5) == {
        "data_source": "retrograde/countdown",
        "prompt": [{"role": "user", "content": "Numbers: 3 7 7, target: 28.\nSolution:\n"}],
        "ability": "countdown",
        "reward_model": {"style": "rule", "ground_truth": "28"},
        "extra_info": {
            "split": "rl",
            "index": 5,
            "id": "p1",
            "statement": "Numbers: 3 7 7, target: 28.",
            "source": "drawn",
            "level": "3",
        },
    }


def test_problems_come_back_from_parquet(tmp_path: Path) -> None:
    """A written file is read as the same problems in the same order."""
    problems = [replace(PROBLEM, id=f"p{number}") for number in range(3)]
    verl.write_problems(problems, tmp_path / "rl.parquet", "rl")
    assert verl.read_problems(tmp_path / "rl.parquet") == problems


def test_a_row_of_others_becomes_a_problem_of_the_named_task() -> None:
    """Its last message is the statement, its ground truth the gold, and its id says where it stood."""
    assert verl.problem(FOREIGN, "math") == Problem(
        "openai-gsm8k-train-7", "math", "How many?", "42", "openai/gsm8k", "math"
    )


def test_a_row_of_others_needs_a_task() -> None:
    """Nobody can guess how its answers are graded: the error names the source."""
    with pytest.raises(InvalidInputError, match="'openai/gsm8k' is not ours; name the task"):
        verl.problem(FOREIGN)
