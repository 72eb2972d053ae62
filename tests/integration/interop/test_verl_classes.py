"""Our rows and groups in the hands of verl's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from interop_packages import run_with_packages


@pytest.fixture(scope="module", name="found")
def found_by_verl(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("verl")
    return run_with_packages("program_verl.py", folder)


def test_an_output_has_what_verl_trains_on(found: dict[str, Any]) -> None:
    """Prompt, response, mask and log-probabilities are the sample's; the reward stands at the last token."""
    output = found["outputs"][2]
    assert output["prompts"] == [7, 8, 9]
    assert output["responses"] == [4, 3, 2]
    assert output["response_mask"] == [1, 0, 1]
    assert output["rollout_log_probs"] == [-0.5, -0.75, -1.0]
    assert output["rm_scores"] == [0.0, 0.0, -1.0]
    assert output["extra_fields"]["problem_id"] == "p1"


def test_a_missing_sample_teaches_nothing(found: dict[str, Any]) -> None:
    """It fills the group up with a mask of zeros and the mean reward of the others: -1/3."""
    output = found["outputs"][3]
    assert output["response_mask"] == [0, 0]
    assert output["rm_scores"] == pytest.approx([0.0, -1 / 3])


def test_verls_data_set_reads_our_parquet(found: dict[str, Any]) -> None:
    """RLHFDataset gives the prompt as messages, the index and the ground truth."""
    assert [row["index"] for row in found["rows"]] == [0, 1]
    assert found["rows"][0] == {
        "raw_prompt": [{"role": "user", "content": "Numbers: 3 7 7, target: 28.\nSolution:\n"}],
        "index": 0,
        "data_source": "retrograde/countdown",
        "reward_model": {"style": "rule", "ground_truth": "28"},
    }


def test_the_examples_agent_loop_gives_each_call_its_sample(found: dict[str, Any]) -> None:
    """Calls of one uid get the samples of one group in order, whatever other calls run with them."""
    assert found["answered"] == [[[5, 6], [5], [4, 3, 2]] * 2, [[5, 6], [5], [4, 3, 2]]]


def test_a_batchs_groups_are_acknowledged_with_the_next(found: dict[str, Any]) -> None:
    """The groups of the first batch, and not that of the second, which verl has not stepped on."""
    assert sorted(found["acked"]) == ["a", "b"]
