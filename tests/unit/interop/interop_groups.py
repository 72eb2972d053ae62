"""A group with everything in it that a format may lose, and a feed that is a list."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from retrograde.core.problem import Cost, Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample

PROBLEM = Problem("p1", "countdown", "Numbers: 3 7 7, target: 28.", "28", "drawn", "3")
PROMPT = [7, 8, 9]


def a_sample(tokens: list[int], reward: float, mask: list[int]) -> Sample:
    """Its log-probabilities are halves and quarters, which every format keeps."""
    verdict = Verdict.CORRECT if reward > 0 else Verdict.INCORRECT
    return Sample(
        token_ids=np.array(tokens, np.int32),
        logprobs=np.array([-0.5 - 0.25 * number for number in range(len(tokens))], np.float32),
        text=f" text {tokens}\n",
        finish_reason="stop" if reward > 0 else "length",
        grade=Grade(verdict, "why", "27", "28", "exact"),
        reward=reward,
        backtracks=len(tokens),
        mask=np.array(mask, np.uint8),
        policy_versions=(3, 4),
        cost=Cost(prompt_tokens=3, generated_tokens=len(tokens), verifier_calls=1, wall_seconds=0.5),
    )


def a_group(name: str = "0000-0000001") -> RolloutGroup:
    """Three samples of different lengths, one of them with a token that is not trained on."""
    return RolloutGroup(
        id=name,
        lease_id=f"{name}/lease",
        problem=PROBLEM,
        prompt_token_ids=np.array(PROMPT, np.int32),
        samples=(a_sample([5, 6], 1.0, [1, 1]), a_sample([5], -1.0, [1]), a_sample([4, 3, 2], -1.0, [1, 0, 1])),
        policy_version=3,
        epoch=0,
    )


@dataclass
class ListedRollouts:
    """Gives its groups in order, as `Rollouts` does, and writes down the names of those that are acknowledged."""

    groups: list[RolloutGroup]
    feed: str = "listed"
    acked: list[str] = field(default_factory=list)
    published: list[str] = field(default_factory=list)

    def pull(self, num_groups: int, min_policy_version: int = 0) -> list[RolloutGroup]:
        given, self.groups = self.groups[:num_groups], self.groups[num_groups:]
        return given

    def pull_soon(self, num_groups: int) -> Future[list[RolloutGroup]]:
        future: Future[list[RolloutGroup]] = Future()
        future.set_result(self.pull(num_groups))
        return future

    def ack(self, groups: Iterable[RolloutGroup]) -> None:
        self.acked += [group.id for group in groups]

    def publish(self, checkpoint_key: str) -> int:
        self.published.append(checkpoint_key)
        return len(self.published)
