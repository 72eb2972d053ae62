"""TRL's GRPOTrainer on a feed: its `rollout_func`, and the reward function that reads what came with the rollouts.

    source = GrpoSource(rollouts)
    with source:
        GRPOTrainer(model, source.reward, rollout_func=source.rollout, train_dataset=source.prompts(...), ...).train()

The feed says which prompts come next, so the trainer's own data set only says how many. When the trainer asks for
groups it has stepped on those before: they are acknowledged, the new weights are published, and the next are pulled.
The last are acknowledged when the block ends well; after an error they are handed out again.
Each process of a distributed run is a consumer of its own and pulls whole groups.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.interop.groups import filled
from retrograde.interop.rollouts import Rollouts
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.objects import ObjectStore

_NUM_KEPT = 2


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the trainer's weights go: `prefix`/<step> in `store`, which the inference pool reads too.

    The last two are kept.
    """

    store: ObjectStore
    prefix: str


class GrpoSource:
    """What GRPOTrainer takes. Without `weights` the policy that is sampled stays as it is. A context manager."""

    def __init__(self, rollouts: Rollouts, weights: Weights | None = None) -> None:
        self._rollouts = rollouts
        self._weights = weights
        self._groups: list[RolloutGroup] = []
        self._published = 0
        self._keys: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._rollouts.ack(self._groups)

    @staticmethod
    def prompts(num_groups: int) -> list[dict[str, str]]:
        """Rows for the trainer's data set: as many as it shall take groups, with nothing in them."""
        return [{"prompt": ""}] * num_groups

    def rollout(self, prompts: Sequence[Any], trainer: Any) -> dict[str, list[Any]]:
        """GRPOTrainer's `rollout_func`. Raises NotFoundError when the feed has ended."""
        size = _num_generations(len(prompts), trainer)
        self._rollouts.ack(self._groups)
        self._publish(trainer)
        wanted = len(prompts) // size
        self._groups = self._rollouts.pull(wanted)
        if len(self._groups) < wanted:
            raise NotFoundError(f"feed: {self._rollouts.feed!r} has ended; lower max_steps or raise its num_epochs")
        return columns(self._groups, size)

    def reward(self, *, reward: list[float | None], **_others: Any) -> list[float | None]:
        """A reward function of GRPOTrainer: the verdicts' rewards, as they came with the rollouts."""
        return reward

    def _publish(self, trainer: Any) -> None:
        """Has the pool sample from the weights as they are after the steps taken since the last time."""
        step = int(trainer.state.global_step)
        if self._weights is None or step == self._published:
            return
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_model(folder)  # on every process: it may gather shards
            if trainer.accelerator.is_main_process:
                self._upload(self._weights, Path(folder), step)
        trainer.accelerator.wait_for_everyone()
        self._published = step

    def _upload(self, weights: Weights, folder: Path, step: int) -> None:
        key = f"{weights.prefix}/{step:06d}"
        weights.store.upload(key, folder)
        self._rollouts.publish(key)
        self._keys.append(key)
        if len(self._keys) > _NUM_KEPT:
            for old in list(weights.store.list(f"{self._keys.pop(0)}/")):
                weights.store.delete(old)


def columns(groups: Sequence[RolloutGroup], size: int) -> dict[str, list[Any]]:
    """What a `rollout_func` returns for `groups`, `size` rows each: tokens, log-probabilities, rewards, origins.

    `env_mask` is the samples' mask. The reward of a row that fills a group up is None: TRL leaves it out of the mean.
    """
    rows = [row for group in groups for row in _rows(group, filled(group, size))]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _rows(group: RolloutGroup, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_ids": group.prompt_token_ids.tolist(),
            "completion_ids": sample.token_ids.tolist(),
            "logprobs": sample.logprobs.tolist(),
            "env_mask": sample.mask.tolist(),
            "reward": sample.reward if number < len(group.samples) else None,
            "problem_id": group.problem.id,
            "policy_version": group.policy_version,
            "backtracks": sample.backtracks,
        }
        for number, sample in enumerate(samples)
    ]


def _num_generations(num_prompts: int, trainer: Any) -> int:
    """Samples of a group. Raises InvalidInputError when groups would be cut, or the trainer evaluates."""
    if not trainer.model.training:
        raise InvalidInputError("eval_dataset: a feed is for training only; leave eval_dataset out")
    size = int(trainer.num_generations)
    if num_prompts % size:
        raise InvalidInputError(
            f"per_device_train_batch_size: {num_prompts} samples a process are no whole groups of num_generations = "
            f"{size}; make per_device_train_batch_size x steps_per_generation a multiple of it"
        )
    return size
