"""What RL consumes: the graded samples of one prompt, with everything a trainer needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrograde.core.problem import Cost, Grade, Problem, Verdict

REWARDS = {Verdict.CORRECT: 1.0, Verdict.INCORRECT: -1.0, Verdict.UNPARSABLE: -1.0}
"""The paper's reward. A timeout or an error is no verdict on the answer, and has none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion: `token_ids` int32 [T], `logprobs` float32 [T] under the policy that sampled it.

    `mask` uint8 [T] is 1 where a token is trained on; all are where it is not given. `policy_versions` are those that
    sampled the first and the last token. Costs that the samples of a group share are on its first one.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    text: str
    finish_reason: str
    grade: Grade
    reward: float
    backtracks: int
    mask: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    policy_versions: tuple[int, int] = (0, 0)
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        """Raises ValueError when the mask has another length than the tokens."""
        if not len(self.mask):
            object.__setattr__(self, "mask", np.ones(len(self.token_ids), np.uint8))
        if len(self.mask) != len(self.token_ids):
            raise ValueError(f"mask: {len(self.mask)} values for {len(self.token_ids)} tokens; give one for each")


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """The samples of one prompt: the unit of GRPO. `id` derives from epoch and prompt.

    `policy_version` is the oldest that sampled any of its tokens; `lease_id` is of this delivery.
    """

    id: str
    lease_id: str
    problem: Problem
    prompt_token_ids: NDArray[np.int32]
    samples: Sequence[Sample]
    policy_version: int
    epoch: int
