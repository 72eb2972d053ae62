"""Groups become examples: which tokens carry loss, and what reward counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from toy_groups import group, sample

from retrograde.core.problem import Grade, Verdict
from retrograde.core.rollout import Sample
from retrograde.core.settings import RlSettings
from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.examples import examples_of, shaped_rewards


def test_samples_become_examples_with_their_advantage() -> None:
    """Rewards +1 and -1 give advantages +1 and -1; the prompt weighs nothing and has no log-probabilities."""
    examples = examples_of([group("g", sample(1.0), sample(-1.0, 1))], RlSettings())

    assert [each.advantage for each in examples] == [1.0, -1.0]
    assert examples[0].tokens.tolist() == [1, 2, 3, 7, 7]
    assert examples[0].weights.tolist() == [0, 0, 0, 1, 1]
    assert examples[0].sampled.tolist() == [0, 0, 0, -1, -1]


def test_equal_groups_are_dropped_unless_told_otherwise() -> None:
    """A group of equal rewards teaches nothing; kept, its advantages are zero."""
    equal = [group("g", sample(1.0), sample(1.0))]

    assert examples_of(equal, RlSettings()) == []
    assert [each.advantage for each in examples_of(equal, RlSettings(drop_equal_groups=False))] == [0.0, 0.0]


def test_normalised_advantages_divide_by_the_deviation() -> None:
    """Rewards 1, 1, 1, -1 have mean 1/2 and a sample's deviation of 1."""
    rewards = [sample(1.0), sample(1.0), sample(1.0), sample(-1.0)]

    examples = examples_of([group("g", *rewards)], RlSettings(advantage="group_std"))

    assert [each.advantage for each in examples] == pytest.approx([0.5, 0.5, 0.5, -1.5], rel=2e-4)


def test_a_sample_without_logprobs_is_refused() -> None:
    """The ratio needs them: the group is named."""
    bare = Sample(np.array([7], np.int32), np.empty(0, np.float32), "", "stop", Grade(Verdict.CORRECT), 1.0, 0)

    with pytest.raises(InvalidInputError, match="group g: 0 logprobs for 1 tokens"):
        examples_of([group("g", bare, sample(-1.0))], RlSettings())


def test_tokens_that_the_policy_did_not_write_carry_no_loss() -> None:
    """A sample's mask goes into the weights, after the prompt's zeros."""
    answered = replace(sample(1.0, 3), mask=np.array([1, 0, 1], np.uint8))

    examples = examples_of([group("g", answered, sample(-1.0))], RlSettings())

    assert examples[0].weights.tolist() == [0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(("overlong", "weights"), [("keep", [1, 1]), ("mask", [0, 0]), ("penalise", [1, 1])])
def test_a_cut_completion_carries_loss_unless_masked(overlong: str, weights: list[int]) -> None:
    """Masked, it still counts in its group's mean."""
    cut, whole = sample(-1.0, finish_reason="length"), sample(1.0)

    examples = examples_of([group("g", cut, whole)], RlSettings.model_validate({"overlong": overlong}))

    assert examples[0].weights.tolist() == [0, 0, 0, *weights]
    assert [each.advantage for each in examples] == [-1.0, 1.0]
    assert examples[1].weights.tolist() == [0, 0, 0, 1, 1]


def test_the_penalty_rises_over_the_buffer() -> None:
    """max_tokens 100, buffer 20, penalty 0.5: none up to 80 tokens, half of it at 90, all at 100."""
    rl = RlSettings(overlong="penalise", max_tokens=100, overlong_buffer_tokens=20, overlong_penalty=0.5)
    lengths = group("g", *(sample(1.0, num_tokens) for num_tokens in (10, 80, 90, 100)))

    assert shaped_rewards(lengths, rl).tolist() == [1.0, 1.0, 0.75, 0.5]


def test_a_group_of_equal_verdicts_can_teach_to_be_short() -> None:
    """With the penalty its rewards differ, so it is not dropped."""
    rl = RlSettings(overlong="penalise", max_tokens=100)

    examples = examples_of([group("g", sample(1.0, 10), sample(1.0, 100))], rl)

    assert [each.advantage for each in examples] == [0.5, -0.5]
