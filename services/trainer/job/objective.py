"""GRPO's objective, as the papers write it (arXiv 2402.03300, eq. 3), with the choices of RlSettings.

Of one token, with advantage A and log-probabilities p (now), q (old), s (told by the engine that sampled), f (of the
reference):

    r = exp(p - q)                            importance ratio            (ratio: token | sequence)
    w = min(exp(q - s), cap)                  engine-trainer correction   (importance_correction)
    loss = -w min(r A, clip(r, 1 - clip_low, 1 + clip_high) A)  +  kl_coefficient KL(p, f)

and of an update: sum of share x loss over its tokens (losses.shares), less entropy_coefficient x mean token entropy.
Shapes: B sequences, T tokens; every [B, T-1] speaks of tokens 1..T-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retrograde.core.settings import RlSettings
from services.trainer.job import losses


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Of the same tokens under four policies, float32 [B, T-1]; only `new` carries a gradient."""

    new: Tensor
    old: Tensor
    sampled: Tensor
    reference: Tensor | None


@dataclass(frozen=True, slots=True)
class Objective:
    """Per token, [B, T-1] or [B, 1]: the loss, and what it is made of."""

    loss: Tensor
    kl: Tensor
    clipped_low: Tensor
    clipped_high: Tensor
    correction: Tensor


def objective(logprobs: Logprobs, mask: Tensor, advantages: Tensor, rl: RlSettings) -> Objective:
    """`mask` [B, T-1] is 1 where a token is trained on; `advantages` [B]."""
    ratio = importance_ratio(logprobs.new - logprobs.old, mask, rl)
    surrogate = losses.clipped_surrogate(ratio, advantages, rl.clip_low, rl.clip_high, rl.ratio_cap)
    weight = correction(logprobs.old - logprobs.sampled, mask, rl)
    kl = torch.zeros_like(logprobs.new)
    if logprobs.reference is not None:
        kl = losses.divergence(logprobs.new, logprobs.reference, rl.kl_estimator)
        kl = kl * ratio if rl.kl_importance_weighted else kl
    loss = weight * surrogate.loss + rl.kl_coefficient * kl
    return Objective(loss, kl, surrogate.clipped_low, surrogate.clipped_high, weight)


def importance_ratio(difference: Tensor, mask: Tensor, rl: RlSettings) -> Tensor:
    """The exponential of `difference` [B, T-1], or of its mean over each sequence's trained tokens, [B, 1]."""
    if rl.ratio == "sequence":
        difference = (difference * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return torch.exp(difference)


@torch.no_grad()
def correction(difference: Tensor, mask: Tensor, rl: RlSettings) -> Tensor:
    """The exponential of old - sampled, per token [B, T-1] or over each sequence [B, 1]: cut at the cap, or 0 above it.

    Truncated importance sampling: without it, an engine that samples in other arithmetic than the trainer's, or from
    older weights, biases the gradient.
    """
    if rl.importance_correction == "off":
        return torch.ones_like(difference)
    level, _, beyond = rl.importance_correction.partition("_")
    difference = difference * mask
    weight = torch.exp(difference.sum(-1, keepdim=True) if level == "sequence" else difference)
    above = weight > rl.importance_cap
    return weight.masked_fill(above, rl.importance_cap if beyond == "truncate" else 0.0)
