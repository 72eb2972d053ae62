"""Groups -> examples, and which groups this job has already used.

A group's advantages are its rewards less their mean (core.advantages). Groups of equal rewards carry no gradient.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrograde.core.advantages import group_advantages
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.core.settings import RlSettings
from retrograde.runtime.errors import InvalidInputError
from services.trainer.job.batches import Example
from services.trainer.job.feed import RolloutSource


def examples_of(groups: Sequence[RolloutGroup], settings: RlSettings) -> list[Example]:
    """One example per sample that can teach, in order."""
    examples = []
    for group in groups:
        rewards = np.array([sample.reward for sample in group.samples], np.float64)
        if settings.drop_equal_groups and np.ptp(rewards) == 0:
            continue
        advantages = group_advantages(rewards, settings.normalise_std)
        pairs = zip(group.samples, advantages, strict=True)
        examples += [_example(group, sample, float(advantage)) for sample, advantage in pairs]
    return examples


def _example(group: RolloutGroup, sample: Sample, advantage: float) -> Example:
    if len(sample.logprobs) != len(sample.token_ids):
        raise InvalidInputError(
            f"group {group.id}: {len(sample.logprobs)} logprobs for {len(sample.token_ids)} tokens; sample with them"
        )
    prompt = np.zeros(len(group.prompt_token_ids), np.float32)
    return Example(
        tokens=np.concatenate([group.prompt_token_ids, sample.token_ids]).astype(np.int32),
        weights=np.concatenate([prompt, np.ones(len(sample.token_ids), np.float32)]),
        sampled=np.concatenate([prompt, sample.logprobs]),
        advantage=advantage,
    )


def describe(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """What the samples were like; all groups count, also those that teach nothing. Names are TRL's where it has one."""
    samples = [sample for group in groups for sample in group.samples]
    lengths = [len(sample.token_ids) for sample in samples]
    deviations = [statistics.pstdev([sample.reward for sample in group.samples]) for group in groups]
    return {
        "reward": statistics.fmean(sample.reward for sample in samples),
        "reward_std": statistics.fmean(deviations),
        "frac_reward_zero_std": statistics.fmean(deviation == 0 for deviation in deviations),
        "completions/mean_length": statistics.fmean(lengths),
        "completions/min_length": min(lengths),
        "completions/max_length": max(lengths),
        "completions/clipped_ratio": statistics.fmean(sample.finish_reason == "length" for sample in samples),
        "backtracks": statistics.fmean(sample.backtracks for sample in samples),
        "num_groups": len(groups),
        "prompt_tokens": sum(len(group.prompt_token_ids) for group in groups),
        "generated_tokens": sum(lengths),
        "verifier_calls": len(samples),
    }


class Ledger:
    """Which groups are used, so that each is used once whatever is killed when.

    A group is `pending` from its step until a save covers that step; then it is acknowledged and `used`. A service that
    hands a group out again (its lease ran out, or the acknowledgement was lost) is told so, and asked for another.
    """

    def __init__(self, source: RolloutSource) -> None:
        self._source = source
        self._pending: dict[str, str] = {}
        self._used: set[str] = set()

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """New groups, waited for; fewer when the feed ends."""
        fresh: dict[str, RolloutGroup] = {}
        while len(fresh) < num_groups:
            groups = self._source.pull(num_groups - len(fresh), min_policy_version)
            if not groups:
                break
            self._source.ack([group.lease_id for group in groups if group.id in self._used])
            again = {group.id: group.lease_id for group in groups if group.id in self._pending}
            self._pending |= again
            fresh |= {group.id: group for group in groups if group.id not in self._used and group.id not in again}
        self._pending |= {group.id: group.lease_id for group in fresh.values()}
        return list(fresh.values())

    def position(self) -> dict[str, Any]:
        """For a save that covers everything pulled so far, in JSON."""
        return {"pending": self._pending, "used": sorted(self._used)}

    def covered(self) -> None:
        """The save is durable: acknowledges what it covers."""
        self._source.ack(list(self._pending.values()))
        self._used |= self._pending.keys()
        self._pending = {}

    def restore(self, position: dict[str, Any]) -> None:
        """Takes up a save, whose acknowledgement may or may not have arrived: it is sent again."""
        self._pending = dict(position.get("pending", {}))
        self._used = set(position.get("used", []))
        self.covered()
