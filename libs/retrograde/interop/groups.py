"""Groups of one size, as trainers want them that lay their batches out beforehand."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np

from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime.errors import InvalidInputError


def filled(group: RolloutGroup, size: int) -> list[Sample]:
    """The group's samples, and copies of the first for those that had no verdict and were left out.

    A copy has a mask of zeros and the group's mean reward: none of its tokens is trained on, and the mean stays.
    Raises InvalidInputError when the group has more samples than `size`.
    """
    num_missing = size - len(group.samples)
    if num_missing < 0:
        raise InvalidInputError(
            f"group_size: a group has {len(group.samples)} samples and the trainer takes {size}; make them equal"
        )
    first = group.samples[0]
    mean = statistics.fmean(sample.reward for sample in group.samples)
    copy = replace(first, mask=np.zeros_like(first.mask), reward=mean)
    return [*group.samples, *[copy] * num_missing]
