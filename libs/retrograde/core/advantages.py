"""How much better a sample is than its group (GRPO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Advantage = Literal["mean", "group_std", "batch_std", "leave_one_out"]
_EPSILON = 1e-4  # added to deviations, as other trainers do


def group_advantages(groups: Sequence[ArrayLike], kind: Advantage = "mean") -> list[NDArray[np.float64]]:
    """The rewards of each group, [G] each -> the advantages of each.

    mean            r_i - mean(r)
    group_std       (r_i - mean(r)) / (std(r) + 1e-4)
    batch_std       (r_i - mean(r)) / (std + 1e-4), the deviation over all groups' rewards
    leave_one_out   r_i - mean of the group's others = (r_i - mean(r)) G / (G - 1)

    Deviations are a sample's (n - 1). A group of equal rewards, or of one, gives exact zeros: it carries no gradient.
    Dividing by the group's deviation weights easy and hard prompts up (a bias: arXiv 2503.20783).
    """
    rewards = [np.asarray(group, np.float64) for group in groups]
    everything = np.concatenate(rewards) if rewards else np.empty(0)
    return [_of_group(group, everything, kind) for group in rewards]


def _of_group(rewards: NDArray[np.float64], everything: NDArray[np.float64], kind: Advantage) -> NDArray[np.float64]:
    if np.ptp(rewards) == 0:
        return np.zeros_like(rewards)
    better: NDArray[np.float64] = rewards - rewards.mean()
    match kind:
        case "mean":
            scale = 1.0
        case "group_std":
            scale = 1 / (float(rewards.std(ddof=1)) + _EPSILON)
        case "batch_std":
            scale = 1 / (float(everything.std(ddof=1)) + _EPSILON)
        case "leave_one_out":
            scale = len(rewards) / (len(rewards) - 1)
    return better * scale
