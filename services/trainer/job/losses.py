"""The losses, as functions of tensors. Shapes: B sequences, T tokens, V vocabulary; masks and weights are 0 or 1.

Position t of a [B, T-1] tensor speaks of token t + 1: its log-probability given the tokens before it. Every loss is a
sum, which the caller divides by the tokens of the whole optimiser step: so micro-batches add up to the exact gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The clipped objective per token, [B, T-1]: its loss, and whether the clip stopped the gradient there."""

    loss: Tensor
    clipped: Tensor


def token_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability in nats of each token but the first: logits [B, T, V], tokens [B, T] -> [B, T-1]."""
    predictions = logits[:, :-1].float().flatten(0, 1)
    nll = functional.cross_entropy(predictions, tokens[:, 1:].flatten(), reduction="none")
    return -nll.view(tokens.shape[0], -1)


@torch.no_grad()
def token_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of each prediction but the last: logits [B, T, V] -> [B, T-1]. Carries no gradient."""
    logprobs = functional.log_softmax(logits[:, :-1].float(), dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


@torch.no_grad()
def token_hits(logits: Tensor, tokens: Tensor) -> Tensor:
    """Whether the likeliest token is the right one: logits [B, T, V], tokens [B, T] -> [B, T-1] of 0 and 1."""
    return (logits[:, :-1].argmax(-1) == tokens[:, 1:]).float()


def clipped_surrogate(
    logprobs: Tensor, sampled: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> Surrogate:
    """PPO's clipped objective (arXiv 1707.06347, eq. 7) with separate bounds, negated.

    `logprobs` and `sampled` [B, T-1] are under the policy now and under the one that sampled; `advantages` is [B].
    """
    ratio = torch.exp(logprobs - sampled)
    advantage = advantages.unsqueeze(-1)
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    clipped = ((ratio < 1 - clip_low) & (advantage < 0)) | ((ratio > 1 + clip_high) & (advantage > 0))
    return Surrogate(-torch.minimum(ratio * advantage, bounded * advantage), clipped.float())


def divergence(logprobs: Tensor, other: Tensor) -> Tensor:
    """Unbiased, never negative estimate per token of KL(policy || other): exp(d) - d - 1, d = other - logprobs.

    The samples must come from the policy of `logprobs` (John Schulman's "k3", joschu.net/blog/kl-approx.html).
    """
    difference = other - logprobs
    return torch.expm1(difference) - difference
