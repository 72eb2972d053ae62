"""Groups become examples, and each is used once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.core.settings import RlSettings
from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.groups import Ledger, describe, examples_of

PROBLEM = Problem(id="p", task="toy", statement="?", gold="1")


def sample(reward: float, num_tokens: int = 2, *, backtracks: int = 0, finish_reason: str = "stop") -> Sample:
    """Tokens 7, log-probabilities -1."""
    grade = Grade(Verdict.CORRECT if reward > 0 else Verdict.INCORRECT)
    tokens, logprobs = np.full(num_tokens, 7, np.int32), np.full(num_tokens, -1, np.float32)
    return Sample(tokens, logprobs, "", finish_reason, grade, reward, backtracks)


def group(name: str, *samples: Sample, lease: str = "") -> RolloutGroup:
    """A group on the prompt (1, 2, 3)."""
    return RolloutGroup(name, lease or f"{name}/a", PROBLEM, np.array([1, 2, 3], np.int32), samples, 4, 0)


class ScriptedSource:
    """Hands out the scripted answers to `pull`, and notes what is acknowledged."""

    def __init__(self, *answers: list[RolloutGroup]) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.acknowledged: list[str] = []

    def open(self) -> None:
        """Nothing to open."""

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """The next answer."""
        assert min_policy_version == 4
        self.asked.append(num_groups)
        return self.answers.pop(0)

    def ack(self, lease_ids: Sequence[str]) -> None:
        """Noted."""
        self.acknowledged += lease_ids

    def publish(self, checkpoint_key: str) -> int:
        """Never called here."""
        raise NotImplementedError(checkpoint_key)


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
    """Rewards 1, 1, 1, -1 have mean 1/2 and deviation sqrt(3)/2."""
    rewards = [sample(1.0), sample(1.0), sample(1.0), sample(-1.0)]

    examples = examples_of([group("g", *rewards)], RlSettings(normalise_std=True))

    assert [each.advantage for each in examples] == pytest.approx([0.57735, 0.57735, 0.57735, -1.73205], abs=1e-4)


def test_a_sample_without_logprobs_is_refused() -> None:
    """The ratio needs them: the group is named."""
    bare = Sample(np.array([7], np.int32), np.empty(0, np.float32), "", "stop", Grade(Verdict.CORRECT), 1.0, 0)

    with pytest.raises(InvalidInputError, match="group g: 0 logprobs for 1 tokens"):
        examples_of([group("g", bare, sample(-1.0))], RlSettings())


def test_description_counts_all_groups() -> None:
    """One group of +1 and -1, one of two -1: the equal one counts too."""
    mixed = group("g", sample(1.0, 3, backtracks=2), sample(-1.0, 1))
    equal = group("h", sample(-1.0, 2, finish_reason="length"), sample(-1.0, 2))

    assert describe([mixed, equal]) == {
        "reward": -0.5,
        "reward_std": 0.5,
        "frac_reward_zero_std": 0.5,
        "completions/mean_length": 2.0,
        "completions/min_length": 1,
        "completions/max_length": 3,
        "completions/clipped_ratio": 0.25,
        "backtracks": 0.5,
        "num_groups": 2,
        "prompt_tokens": 6,
        "generated_tokens": 8,
        "verifier_calls": 4,
    }


def test_groups_are_acknowledged_only_once_a_save_covers_them() -> None:
    """Pulling acknowledges nothing; the save does."""
    source = ScriptedSource([group("g1"), group("g2")])
    ledger = Ledger(source)

    ledger.pull(2, 4)
    before = list(source.acknowledged)
    ledger.covered()

    assert before == []
    assert source.acknowledged == ["g1/a", "g2/a"]


def test_a_group_handed_out_again_before_its_save_is_not_used_twice() -> None:
    """Its lease ran out: another group is asked for, and the new lease is the one acknowledged."""
    source = ScriptedSource([group("g1")], [group("g1", lease="g1/b")], [group("g2")])
    ledger = Ledger(source)

    first, second = ledger.pull(1, 4), ledger.pull(1, 4)
    ledger.covered()

    assert [each.id for each in [*first, *second]] == ["g1", "g2"]
    assert source.acknowledged == ["g1/b", "g2/a"]


def test_a_group_handed_out_again_after_its_save_is_acknowledged_at_once() -> None:
    """The acknowledgement was lost: it is sent again, and another group asked for."""
    source = ScriptedSource([group("g1")], [group("g1", lease="g1/b"), group("g2")], [group("g3")])
    ledger = Ledger(source)
    ledger.pull(1, 4)
    ledger.covered()

    fresh = ledger.pull(2, 4)

    assert [each.id for each in fresh] == ["g2", "g3"]
    assert source.asked == [1, 2, 1]
    assert source.acknowledged == ["g1/a", "g1/b"]


def test_a_restored_ledger_acknowledges_what_the_save_covers_and_uses_nothing_of_it_again() -> None:
    """Killed between the save and its acknowledgement, the next life sends it, and asks for another group."""
    killed = Ledger(ScriptedSource([group("g1")]))
    killed.pull(1, 4)
    position = json.loads(json.dumps(killed.position()))
    source = ScriptedSource([group("g1", lease="g1/b")], [group("g2")])

    ledger = Ledger(source)
    ledger.restore(position)
    fresh = ledger.pull(1, 4)

    assert [each.id for each in fresh] == ["g2"]
    assert source.acknowledged == ["g1/a", "g1/b"]


def test_a_feed_that_ends_gives_fewer_groups() -> None:
    """An empty answer ends the wait."""
    ledger = Ledger(ScriptedSource([group("g1")], []))

    assert [each.id for each in ledger.pull(3, 4)] == ["g1"]
