"""How much better a sample is than its group (GRPO)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def group_advantages(
    rewards: ArrayLike,
    normalise_std: bool = False,  # noqa: FBT001, FBT002 - named after the setting it is given
    epsilon: float = 1e-6,
) -> NDArray[np.float64]:
    """Rewards [..., G] less their group's mean; by its population deviation plus `epsilon` if `normalise_std`.

    Groups are told apart by all axes but the last. A group of equal rewards gives exact zeros: it carries no gradient.
    Dividing by the deviation weights easy and hard prompts up (a bias, see "Understanding R1-Zero-like training",
    arXiv 2503.20783), hence off unless asked for.
    """
    values = np.asarray(rewards, np.float64)
    advantages: NDArray[np.float64] = values - values.mean(axis=-1, keepdims=True)
    if normalise_std:
        advantages = advantages / (values.std(axis=-1, keepdims=True) + epsilon)
    equal = values.max(axis=-1, keepdims=True) == values.min(axis=-1, keepdims=True)
    return np.where(equal, 0.0, advantages)
