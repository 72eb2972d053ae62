"""The parts of the losses, as functions of tensors. Shapes: B sequences, T tokens, V vocabulary; masks are 0 or 1.

Position t of a [B, T-1] tensor speaks of token t + 1: its log-probability given the tokens before it. Losses are per
token; objective.py puts GRPO's together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Aggregation = Literal["token", "sequence", "fixed_length"]
Estimator = Literal["k1", "k2", "k3"]


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The clipped objective, [B, T-1] or [B, 1]: its loss, and whether a bound stopped the gradient there."""

    loss: Tensor
    clipped_low: Tensor
    clipped_high: Tensor


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability in nats of each token but the first: logits [B, T, V], tokens [B, T] -> [B, T-1]."""
    predictions = logits[:, :-1].float().flatten(0, 1)
    nll = functional.cross_entropy(predictions, tokens[:, 1:].flatten(), reduction="none")
    return -nll.view(tokens.shape[0], -1)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of each prediction but the last: logits [B, T, V] -> [B, T-1]."""
    logprobs = functional.log_softmax(logits[:, :-1].float(), dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


@torch.no_grad()
def token_hits(logits: Tensor, tokens: Tensor) -> Tensor:
    """Whether the likeliest token is the right one: logits [B, T, V], tokens [B, T] -> [B, T-1] of 0 and 1."""
    return (logits[:, :-1].argmax(-1) == tokens[:, 1:]).float()


def shares(aggregation: Aggregation, lengths: Sequence[float], max_tokens: int) -> list[float]:
    """What one token of each sequence weighs in the update's loss; `lengths` are the numbers of trained tokens.

    With S sequences of T_i tokens: token 1 / sum(T), sequence 1 / (S T_i), fixed_length 1 / (S max_tokens). The loss is
    the sum over all tokens of share x loss, so that micro-batches add up to the exact gradient.
    """
    match aggregation:
        case "token":
            return [1 / max(1.0, sum(lengths))] * len(lengths)
        case "sequence":
            return [1 / (len(lengths) * max(1.0, length)) for length in lengths]
        case "fixed_length":
            return [1 / (len(lengths) * max_tokens) for _ in lengths]


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, ratio_cap: float | None = None
) -> Surrogate:
    """PPO's clipped objective (arXiv 1707.06347, eq. 7) with separate bounds, negated.

    `ratio` [B, T-1] or [B, 1] is of the policy now to the old one; `advantages` is [B]. `ratio_cap` bounds the ratio
    also where the advantage is negative (arXiv 2505.07291, eq. 1).
    """
    advantage = advantages.unsqueeze(-1)
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    unbounded = ratio if ratio_cap is None else ratio.clamp(max=ratio_cap)
    loss = -torch.minimum(unbounded * advantage, bounded * advantage)
    low, high = (ratio < 1 - clip_low) & (advantage < 0), (ratio > 1 + clip_high) & (advantage > 0)
    return Surrogate(loss, low.float(), high.float())


def divergence(logprobs: Tensor, other: Tensor, estimator: Estimator = "k3") -> Tensor:
    """Estimate per token of KL(policy || other), from samples of the policy (joschu.net/blog/kl-approx.html).

    With d = logprobs - other: k1 is d, unbiased but of either sign; k2 is d^2 / 2, whose gradient is the KL's; k3 is
    exp(-d) - 1 + d, unbiased and never negative.
    """
    difference = logprobs - other
    match estimator:
        case "k1":
            return difference
        case "k2":
            return difference.square() / 2
        case "k3":
            return torch.expm1(-difference) + difference
