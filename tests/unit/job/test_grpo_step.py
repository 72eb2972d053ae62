"""A GRPO step: its gradient does not depend on how it is cut, and its updates are those of the settings."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import torch
from plain_policy import CPU, Alone, PlainPolicy, random_groups, tiny_llama

from retrograde.core.settings import RlSettings
from services.trainer.job.examples import examples_of
from services.trainer.job.grpo_step import Trainee, minibatches, take_step, update, with_old_logprobs
from services.trainer.job.losses import Aggregation

GROUPS = random_groups()
SEVERAL_CHOICES = {
    "old_logprobs": "recomputed",
    "importance_correction": "token_truncate",
    "kl_coefficient": 0.1,
    "entropy_coefficient": 0.01,
    "max_tokens": 9,
}


def trainee(policy: PlainPolicy, ranks: Any = None, **given: object) -> Trainee:
    """With a reference where the settings want one."""
    rl = RlSettings.model_validate(given)
    reference = tiny_llama(2).requires_grad_(requires_grad=False) if rl.kl_coefficient else None
    return Trainee(policy, reference, ranks or Alone(), rl, seed=7)


def one_gradient(policy: PlainPolicy, **given: object) -> torch.Tensor:
    """Of one step on all groups."""
    take_step(trainee(policy, **given), GROUPS, step=0)
    return policy.gradients[0]


@pytest.mark.parametrize("aggregation", get_args(Aggregation))
@pytest.mark.parametrize("micro_batch_tokens", [1, 30])
def test_micro_batches_add_up_to_the_gradient_of_one_batch(aggregation: str, micro_batch_tokens: int) -> None:
    """One sample at a time, or a few: as all at once, in fp32."""
    choices = {**SEVERAL_CHOICES, "aggregation": aggregation}
    whole, cut = PlainPolicy(tiny_llama(1)), PlainPolicy(tiny_llama(1))

    expected = one_gradient(whole, **choices, micro_batch_tokens=100_000)
    actual = one_gradient(cut, **choices, micro_batch_tokens=micro_batch_tokens)

    assert len(cut.passes) > len(whole.passes)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_activation_checkpointing_changes_no_gradient() -> None:
    """Recomputed activations are the same numbers."""
    plain, frugal = PlainPolicy(tiny_llama(1)), PlainPolicy(tiny_llama(1))
    frugal.model.gradient_checkpointing_enable()
    frugal.model.train()

    assert torch.equal(one_gradient(frugal, **SEVERAL_CHOICES), one_gradient(plain, **SEVERAL_CHOICES))


@dataclass(frozen=True)
class RankOfTwo:
    """grpo_step.Team of a thread: sums meet in the middle."""

    rank: int
    given: queue.Queue[list[float]]
    taken: queue.Queue[list[float]]
    world_size: int = 2
    device: torch.device = CPU

    def sum(self, values: torch.Tensor) -> list[float]:
        """Waits for the other rank's."""
        self.given.put(values.tolist())
        return [own + other for own, other in zip(values.tolist(), self.taken.get(timeout=60), strict=True)]


def test_two_ranks_together_have_the_gradient_of_one() -> None:
    """Each has the micro-batches dealt to it; the sum of their gradients, and their metrics, are those of one rank."""
    choices = {**SEVERAL_CHOICES, "micro_batch_tokens": 30, "num_epochs": 2}
    alone, pair = PlainPolicy(tiny_llama(1)), [PlainPolicy(tiny_llama(1)) for _ in range(2)]
    there: queue.Queue[list[float]] = queue.Queue()
    back: queue.Queue[list[float]] = queue.Queue()
    teams = [RankOfTwo(0, there, back), RankOfTwo(1, back, there)]
    both = [trainee(policy, team, **choices) for policy, team in zip(pair, teams, strict=True)]
    metrics: dict[int, Any] = {}

    def work(rank: int) -> None:
        metrics[rank] = take_step(both[rank], GROUPS, step=0)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = take_step(trainee(alone, **choices), GROUPS, step=0)

    torch.testing.assert_close(pair[0].gradients[0] + pair[1].gradients[0], alone.gradients[0], rtol=1e-5, atol=1e-6)
    for name in ("loss", "kl", "entropy", "mismatch_kl"):
        assert metrics[0][name] == metrics[1][name] == pytest.approx(expected[name])


def test_minibatches_are_equal_shares_of_every_epoch() -> None:
    """Two epochs of three updates: each epoch uses every example once, in another order; the same when asked again."""
    rl = RlSettings(num_epochs=2, num_minibatches=3)

    parts = minibatches(8, rl, seed=1, step=4)

    assert [len(part) for part in parts] == [3, 3, 2, 3, 3, 2]
    assert [sorted(sum(parts[:3], [])), sorted(sum(parts[3:], []))] == [list(range(8))] * 2  # noqa: RUF017 - short lists
    assert parts[:3] != parts[3:]
    assert minibatches(8, rl, seed=1, step=4) == parts != minibatches(8, rl, seed=1, step=5)


def test_old_logprobs_are_those_before_the_first_update() -> None:
    """Recomputed for two epochs: the ratio is one in the first and not in the second, whose weights have moved."""
    policy = PlainPolicy(tiny_llama(1), shift=0.05)
    choices = {"old_logprobs": "recomputed", "num_epochs": 2, "clip_low": 1e-4, "clip_high": 1e-4}

    metrics = take_step(trainee(policy, **choices), GROUPS, step=0)

    assert metrics["num_updates"] == 2
    examples = with_old_logprobs(trainee(PlainPolicy(tiny_llama(1)), **choices), examples_of(GROUPS, RlSettings()))
    first = update(trainee(PlainPolicy(tiny_llama(1)), **choices), examples, 1e-3)
    second = update(trainee(policy, **choices), examples, 1e-3)
    assert (first[3], first[4]) == (0.0, 0.0)  # nothing is clipped
    assert second[3] + second[4] > 0.1


def test_one_update_needs_no_pass_of_its_own_for_old_logprobs() -> None:
    """They are those of its own pass, and the ratio is one whatever the engine told."""
    policy = PlainPolicy(tiny_llama(1))

    metrics = take_step(trainee(policy, old_logprobs="recomputed", micro_batch_tokens=100_000), GROUPS, step=0)

    assert len(policy.passes) == 1
    assert metrics["clip_ratio/region_mean"] == 0
    assert metrics["sampling/sampling_logp_difference/mean"] > 0.1
    assert metrics["mismatch_kl"] > 0


def test_samples_without_loss_cost_no_pass_but_count_as_sequences() -> None:
    """Cut completions are masked: their tokens are in no micro-batch, and the mean is over all sequences."""
    policy = PlainPolicy(tiny_llama(1))
    choices = {"overlong": "mask", "aggregation": "sequence", "micro_batch_tokens": 1}

    metrics = take_step(trainee(policy, **choices), GROUPS, step=0)

    whole = [sample for group in GROUPS for sample in group.samples if sample.finish_reason != "length"]
    assert len(policy.passes) == len(whole) == metrics["num_trained_samples"] < 12


@pytest.mark.parametrize("choices", [{}, {"old_logprobs": "recomputed", "num_epochs": 2}])
def test_no_update_is_made_where_nothing_can_teach(choices: dict[str, object]) -> None:
    """All groups have equal rewards: the weights stay, and so does the optimiser."""
    policy = PlainPolicy(tiny_llama(1))

    metrics = take_step(trainee(policy, **choices), random_groups(group_size=1), step=0)

    assert (policy.gradients, policy.passes) == ([], [])
    assert (metrics["num_updates"], metrics["loss"], metrics["grad_norm"]) == (0, 0.0, 0.0)
