"""One step of GRPO: the groups of a batch -> updates of the weights.

    groups -> examples -> [ old log-probabilities ] -> per epoch and minibatch: micro-batches -> gradient -> AdamW

Whatever an example weighs in its update is known before the first pass (losses.shares), so that the gradient does not
depend on how the update is cut into micro-batches and dealt to ranks. Log-probabilities on all sides are the model's
own, before temperature, as the inference pool reports them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from retrograde.core.rollout import RolloutGroup
from retrograde.core.settings import RlSettings
from services.trainer.job import losses
from services.trainer.job.batches import Example, MicroBatch, collate, deal, micro_batches
from services.trainer.job.examples import examples_of
from services.trainer.job.objective import Logprobs, objective
from services.trainer.job.schedule import rl_schedule

_MEANS = (
    "loss",
    "kl",
    "entropy",
    "clip_ratio/low_mean",
    "clip_ratio/high_mean",
    "mismatch_kl",
    "sampling/sampling_logp_difference/mean",
    "sampling/importance_sampling_ratio/mean",
)


class Team(Protocol):
    """The ranks of the job, as far as a step needs them."""

    @property
    def rank(self) -> int:
        """This one."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    @property
    def device(self) -> torch.device:
        """Of this rank."""

    def sum(self, values: Tensor) -> list[float]:
        """Over the ranks, of `values` float64 [N]."""


class Policy(Protocol):
    """The model in training, as far as a step needs it: learner.Learner."""

    def logits(self, tokens: Tensor) -> Tensor:
        """Tokens [B, T] -> [B, T, V]."""

    def accumulate(self, loss: Tensor) -> None:
        """Adds the gradient of a share of the update's loss."""

    def step(self, learning_rate: float) -> float:
        """Applies what was accumulated; returns the norm of the gradient."""


@dataclass(frozen=True, slots=True)
class Trainee:
    """What is trained, and how. `reference` is the frozen starting policy, or None where the KL weighs nothing."""

    policy: Policy
    reference: Any
    ranks: Team
    rl: RlSettings
    seed: int


def take_step(trainee: Trainee, groups: Sequence[RolloutGroup], step: int) -> Mapping[str, float]:
    """All updates of step number `step` (from 0) on `groups`; returns their mean metrics."""
    began, rl = time.monotonic(), trainee.rl
    rate = rl_schedule(rl).learning_rate(step)
    examples = examples_of(groups, rl)
    if _needs_old(rl):
        examples = with_old_logprobs(trainee, examples)
    updates = minibatches(len(examples), rl, trainee.seed, step)
    means = np.zeros(len(_MEANS) + 1)
    for indices in updates:
        means += np.array(update(trainee, [examples[i] for i in indices], rate)) / len(updates)
    values = dict(zip((*_MEANS, "grad_norm"), means.tolist(), strict=True))
    return {
        **values,
        "clip_ratio/region_mean": values["clip_ratio/low_mean"] + values["clip_ratio/high_mean"],
        "learning_rate": rate,
        "num_trained_samples": sum(example.num_trained > 0 for example in examples),
        "num_updates": len(updates),
        "num_steps": rl.num_steps,
        "train_seconds": time.monotonic() - began,
    }


def minibatches(num_examples: int, rl: RlSettings, seed: int, step: int) -> list[list[int]]:
    """The examples of each update: every epoch shuffles and cuts them anew. A function of its arguments alone."""
    if rl.num_minibatches == 1:
        return [list(range(num_examples))] * rl.num_epochs if num_examples else []
    parts: list[list[int]] = []
    for epoch in range(rl.num_epochs):
        order = np.random.default_rng((seed, step, epoch)).permutation(num_examples)
        parts += [part.tolist() for part in np.array_split(order, rl.num_minibatches) if len(part)]
    return parts


def update(trainee: Trainee, examples: Sequence[Example], learning_rate: float) -> list[float]:
    """One optimiser update on `examples`, none where nothing trains; returns _MEANS and the gradient's norm."""
    rl, ranks = trainee.rl, trainee.ranks
    lengths = [example.num_trained for example in examples]
    shares = losses.shares(rl.aggregation, lengths, rl.max_tokens)
    shared = [replace(example, share=share) for example, share in zip(examples, shares, strict=True)]
    sums = torch.zeros(len(_MEANS), dtype=torch.float64)
    plan = _plan(shared, rl)
    for group in deal(plan, ranks.rank, ranks.world_size):
        sums += _accumulate(trainee, collate([shared[i] for i in group], ranks.device), max(1.0, sum(lengths)))
    norm = trainee.policy.step(learning_rate) if plan else 0.0
    return [*ranks.sum(sums), norm]


@torch.no_grad()
def with_old_logprobs(trainee: Trainee, examples: Sequence[Example]) -> list[Example]:
    """The examples with the log-probabilities that the policy gives their tokens now."""
    if not examples:
        return []
    ranks = trainee.ranks
    ends = np.cumsum([len(example.tokens) for example in examples], dtype=np.int64)
    told = torch.zeros(int(ends[-1]), dtype=torch.float64)
    for group in deal(_plan(examples, trainee.rl), ranks.rank, ranks.world_size):
        tokens = collate([examples[i] for i in group], ranks.device).tokens
        logprobs = losses.token_logprobs(trainee.policy.logits(tokens), tokens)
        for row, i in enumerate(group):
            length = len(examples[i].tokens)
            told[ends[i] - length + 1 : ends[i]] = logprobs[row, : length - 1].double().cpu()
    everything = np.array(ranks.sum(told), np.float32)  # each rank has told its own, and 0 for the others'
    return [replace(each, old=old) for each, old in zip(examples, np.split(everything, ends[:-1]), strict=True)]


def _needs_old(rl: RlSettings) -> bool:
    """At the first update the policy now is the old one; its log-probabilities need no pass of their own."""
    return rl.old_logprobs == "recomputed" and rl.num_epochs * rl.num_minibatches > 1


def _plan(examples: Sequence[Example], rl: RlSettings) -> list[list[int]]:
    """Micro-batches of those that train at all."""
    trained = [i for i, example in enumerate(examples) if example.num_trained]
    return micro_batches([len(example.tokens) for example in examples], trained, rl.micro_batch_tokens)


def _accumulate(trainee: Trainee, batch: MicroBatch, num_tokens: float) -> Tensor:
    """Adds one micro-batch's gradient; returns its shares of _MEANS, float64."""
    rl = trainee.rl
    logits = trainee.policy.logits(batch.tokens)
    new = losses.token_logprobs(logits, batch.tokens)
    logprobs = Logprobs(new, _old(rl, batch, new), batch.sampled, _reference_logprobs(trainee, batch))
    with torch.set_grad_enabled(rl.entropy_coefficient > 0):
        entropy = losses.token_entropy(logits)
    terms = objective(logprobs, batch.weights, batch.advantages, rl)
    of_loss, of_mean = batch.weights * batch.shares.unsqueeze(-1), batch.weights / num_tokens
    loss = (terms.loss * of_loss).sum() - rl.entropy_coefficient * (entropy * of_mean).sum()
    trainee.policy.accumulate(loss)
    trainers = new.detach() if rl.old_logprobs == "sampled" else logprobs.old
    mismatch, distance = losses.divergence(batch.sampled, trainers), (trainers - batch.sampled).abs()
    told = (terms.kl, entropy, terms.clipped_low, terms.clipped_high, mismatch, distance, terms.correction)
    return torch.stack([loss.detach(), *((each.detach() * of_mean).sum() for each in told)]).double().cpu()


def _old(rl: RlSettings, batch: MicroBatch, new: Tensor) -> Tensor:
    """What the ratio divides by."""
    if rl.old_logprobs == "sampled":
        return batch.sampled
    return batch.old if _needs_old(rl) else new.detach()


@torch.no_grad()
def _reference_logprobs(trainee: Trainee, batch: MicroBatch) -> Tensor | None:
    if trainee.reference is None:
        return None
    logits = trainee.reference(input_ids=batch.tokens, use_cache=False).logits
    return losses.token_logprobs(logits, batch.tokens)
