"""What RL consumes: the graded samples of one prompt, with everything a trainer needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrograde.core.problem import Grade, Problem


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion: `token_ids` int32 [T], `logprobs` float32 [T] under the policy that sampled it."""

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    text: str
    finish_reason: str
    grade: Grade
    reward: float
    backtracks: int


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """The samples of one prompt: the unit of GRPO. `id` derives from feed, epoch and prompt."""

    id: str
    lease_id: str
    problem: Problem
    prompt_token_ids: NDArray[np.int32]
    samples: tuple[Sample, ...]
    policy_version: int
    epoch: int
