"""OpenRLHF: its Experience from groups, and what its trainer takes them from.

An Experience of one sample, of T tokens with its prompt: `sequences` and `attention_mask` [1, T]; `action_mask` and
`rollout_log_probs` [1, T - 1], shifted by one as its actor's log-probabilities are, zeros on the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrograde.core.problem import Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.interop.groups import filled
from retrograde.interop.rollouts import Rollouts
from retrograde.tasks.task import load_task

if TYPE_CHECKING:
    from openrlhf.trainer.ppo_utils.experience import Experience


def experiences(group: RolloutGroup, size: int) -> list[Experience]:
    """A group -> `size` Experiences of one sample each; see `filled`."""
    return [_experience(group, sample) for sample in filled(group, size)]


def _experience(group: RolloutGroup, sample: Sample) -> Experience:
    import torch  # noqa: PLC0415 - only who trains with OpenRLHF needs it
    from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: PLC0415

    tokens = np.concatenate([group.prompt_token_ids, sample.token_ids])
    prompt = np.zeros(len(group.prompt_token_ids))
    is_cut = sample.finish_reason == "length"
    score = float(sample.grade.verdict is Verdict.CORRECT)
    figures = {
        "reward": sample.reward,
        "score": score,
        "response_clip_ratio": is_cut,
        "backtracks": sample.backtracks,
        "policy_version": group.policy_version,
    }
    return Experience(
        sequences=torch.tensor(tokens[None], dtype=torch.long),
        attention_mask=torch.ones((1, len(tokens)), dtype=torch.long),
        action_mask=torch.tensor(_after_first(prompt, sample.mask), dtype=torch.long),
        rollout_log_probs=torch.tensor(_after_first(prompt, sample.logprobs), dtype=torch.float32),
        prompts=[load_task(group.problem.task).prompt(group.problem)],
        labels=[group.problem.gold],
        images=[None],
        mm_train_inputs=[None],
        rewards=torch.tensor([sample.reward]),
        scores=torch.tensor([score]),
        response_length=torch.tensor([len(sample.token_ids)]),
        truncated=torch.tensor([is_cut]),
        total_length=torch.tensor([float(len(tokens))]),
        info={name: torch.tensor([value]) for name, value in figures.items()},
    )


def _after_first(prompt: NDArray[Any], completion: NDArray[Any]) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate([prompt, completion])
    return joined[None, 1:]


@dataclass(slots=True)
class FeedSamples:
    """Takes the place of the trainer's `samples_generator`: `num_groups` groups of `size` samples a call.

    A call acknowledges the groups of the one before, on which the trainer has stepped by then.
    """

    rollouts: Rollouts
    num_groups: int
    size: int
    _groups: Sequence[RolloutGroup] = field(default_factory=list)

    def generate_samples(self, **_settings: object) -> tuple[list[Experience], float | None, int, bool]:
        """(Experiences, None for no filtering here, prompts used, whether the feed has ended)."""
        self.rollouts.ack(self._groups)
        self._groups = self.rollouts.pull(self.num_groups)
        samples = [experience for group in self._groups for experience in experiences(group, self.size)]
        return samples, None, len(self._groups), len(self._groups) < self.num_groups
