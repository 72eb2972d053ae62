"""Groups -> examples: rewards are shaped, compared within their group, and laid beside the tokens they speak of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrograde.core.advantages import group_advantages
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.core.settings import RlSettings
from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.batches import Example

_TRUNCATED = "length"


def examples_of(groups: Sequence[RolloutGroup], rl: RlSettings) -> list[Example]:
    """One example per sample that can teach, in order."""
    rewards = [shaped_rewards(group, rl) for group in groups]
    advantages = group_advantages(rewards, rl.advantage)
    return [
        _example(group, sample, float(advantage), rl)
        for group, own, compared in zip(groups, rewards, advantages, strict=True)
        if not (rl.drop_equal_groups and np.ptp(own) == 0)
        for sample, advantage in zip(group.samples, compared, strict=True)
    ]


def shaped_rewards(group: RolloutGroup, rl: RlSettings) -> NDArray[np.float64]:
    """The group's rewards [G], less the penalty on those that come near `max_tokens` if there is one.

    The penalty rises in a straight line over the buffer before `max_tokens` (arXiv 2503.14476, eq. 13).
    """
    rewards = np.array([sample.reward for sample in group.samples], np.float64)
    if rl.overlong != "penalise":
        return rewards
    buffer = rl.overlong_buffer_tokens or max(1, rl.max_tokens // 4)
    lengths = np.array([len(sample.token_ids) for sample in group.samples], np.float64)
    return rewards - rl.overlong_penalty * np.clip((lengths - (rl.max_tokens - buffer)) / buffer, 0, 1)


def _example(group: RolloutGroup, sample: Sample, advantage: float, rl: RlSettings) -> Example:
    if len(sample.logprobs) != len(sample.token_ids):
        raise InvalidInputError(
            f"group {group.id}: {len(sample.logprobs)} logprobs for {len(sample.token_ids)} tokens; sample with them"
        )
    prompt = np.zeros(len(group.prompt_token_ids), np.float32)
    without_loss = rl.overlong == "mask" and sample.finish_reason == _TRUNCATED
    return Example(
        tokens=np.concatenate([group.prompt_token_ids, sample.token_ids]).astype(np.int32),
        weights=np.concatenate([prompt, sample.mask * np.float32(not without_loss)]).astype(np.float32),
        sampled=np.concatenate([prompt, sample.logprobs]),
        advantage=advantage,
    )
