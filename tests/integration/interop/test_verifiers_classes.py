"""Our groups and tasks in the hands of verifiers' own classes."""

from __future__ import annotations

from typing import Any

import pytest
from interop_packages import run_with_packages
from scripted_services import Inference, serving

from retrograde.tasks.task import load_task


@pytest.fixture(scope="module", name="found")
def found_by_verifiers() -> dict[str, Any]:
    with serving(Inference()) as address:
        return run_with_packages("program_verifiers.py", address)


def test_a_group_comes_back_from_episodes(found: dict[str, Any]) -> None:
    """Written as records of WireEpisode and read again, a group is the same in every field and type."""
    assert found["after"] == found["before"]


def test_a_token_out_of_the_mask_loses_its_log_probability(found: dict[str, Any]) -> None:
    """A trace has none for it: it comes back as 0, the mask and the tokens as they were."""
    sample = found["masked"]
    assert sample["mask"] == ["uint8", 1, 0, 1]
    assert sample["token_ids"] == ["int32", 4, 3, 2]
    assert sample["logprobs"] == ["float32", -0.5, 0.0, -1.0]


def test_an_episode_has_what_a_trainer_reads(found: dict[str, Any]) -> None:
    """A branch's tokens, mask and log-probabilities over prompt and answer; the reward, group and policy versions."""
    assert found["episode"] == {
        "group": "0000-0000001",
        "policy": [3, 4],
        "step": 7,
        "reward": -1.0,
        "token_ids": [7, 8, 9, 4, 3, 2],
        "sampled_mask": [False, False, False, True, False, True],
        "logprobs": [0.0, 0.0, 0.0, -0.5, 0.0, -1.0],
        "output_tokens": 3,
        "last_reply": "text [4, 3, 2]",
    }


def test_our_tasks_are_a_task_set(found: dict[str, Any]) -> None:
    """The example is found as a plug-in; its tasks are the problems, asked as the policy is asked."""
    task = load_task("countdown")
    problems = task.problems({"num_numbers": 3, "count": 2}, "rl", seed=0)
    assert found["tasks"]["keys"] == [problem.id for problem in problems]
    assert found["tasks"]["prompt"] == task.prompt(problems[0])


def test_a_task_is_graded_by_the_verifier_service(found: dict[str, Any]) -> None:
    """A right answer is +1, a wrong one -1."""
    assert (found["tasks"]["aa"], found["tasks"]["ee"]) == (1.0, -1.0)


def test_an_answer_without_a_verdict_is_an_error(found: dict[str, Any]) -> None:
    """The verifier's timeout is no reward: the trace is left without one."""
    told, rewards = found["tasks"]["hh"]
    assert "timeout" in told
    assert rewards == {"verdict": None}
