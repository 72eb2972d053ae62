"""Our groups in the hands of OpenRLHF's own Experience."""

from __future__ import annotations

from typing import Any

import pytest
from interop_packages import run_with_packages


@pytest.fixture(scope="module", name="found")
def found_by_openrlhf() -> dict[str, Any]:
    return run_with_packages("program_openrlhf.py")


def test_an_experience_is_shifted_by_one(found: dict[str, Any]) -> None:
    """Mask and log-probabilities begin at the second token, as those of its actor; the prompt has zeros."""
    alone = found["alone"][2]
    assert alone["sequences"] == [[7, 8, 9, 4, 3, 2]]
    assert alone["action_mask"] == [[0, 0, 1, 0, 1]]
    assert alone["rollout_log_probs"] == [[0.0, 0.0, -0.5, -0.75, -1.0]]
    assert (alone["rewards"], alone["scores"], alone["truncated"]) == ([-1.0], [0.0], [True])
    assert (alone["labels"], alone["total_length"]) == (["28"], [6.0])


def test_openrlhf_batches_a_group(found: dict[str, Any]) -> None:
    """Its own concatenation pads the samples of different lengths on the right, figures for logging included."""
    batch = found["batch"]
    assert batch["sequences"] == [[7, 8, 9, 5, 6, 0], [7, 8, 9, 5, 0, 0], [7, 8, 9, 4, 3, 2]]
    assert batch["rewards"] == [1.0, -1.0, -1.0]
    assert batch["info"]["backtracks"] == [2, 1, 3]


def test_samples_come_back_from_a_batch(found: dict[str, Any]) -> None:
    """Its own splitting gives the token-level fields of each sample back as they went in."""
    for alone, again in zip(found["alone"], found["again"], strict=True):
        for name in ("sequences", "attention_mask", "action_mask", "rollout_log_probs"):
            assert [again[name]] == alone[name]


def test_a_batch_can_be_laid_out_again(found: dict[str, Any]) -> None:
    """Its own batches of single samples are the batch that was split."""
    for name in ("sequences", "action_mask", "rollout_log_probs", "rewards", "scores", "total_length"):
        assert found["rebatched"][name] == found["batch"][name]


def test_a_step_takes_its_groups_and_acknowledges_the_last(found: dict[str, Any]) -> None:
    """Two groups of three, then one, which is the feed's end; the second call acknowledges the first's."""
    assert found["steps"] == [[6, None, 2, False], [3, None, 1, True]]
    assert found["acked"] == ["a", "b"]
