"""Groups of samples by hand, and a source that hands them out by script."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample

PROBLEM = Problem(id="p", task="toy", statement="?", gold="1")


def sample(reward: float, num_tokens: int = 2, *, backtracks: int = 0, finish_reason: str = "stop") -> Sample:
    """Tokens 7, log-probabilities -1."""
    grade = Grade(Verdict.CORRECT if reward > 0 else Verdict.INCORRECT)
    tokens, logprobs = np.full(num_tokens, 7, np.int32), np.full(num_tokens, -1, np.float32)
    return Sample(tokens, logprobs, "", finish_reason, grade, reward, backtracks)


def group(name: str, *samples: Sample, lease: str = "") -> RolloutGroup:
    """A group on the prompt (1, 2, 3)."""
    return RolloutGroup(name, lease or f"{name}/a", PROBLEM, np.array([1, 2, 3], np.int32), samples, 4, 0)


class ScriptedSource:
    """Hands out the scripted answers to `pull`, and notes what is acknowledged."""

    def __init__(self, *answers: list[RolloutGroup]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int]] = []
        self.acknowledged: list[str] = []

    def open(self) -> None:
        """Nothing to open."""

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """The next answer."""
        self.asked.append((num_groups, min_policy_version))
        return self.answers.pop(0)

    def ack(self, lease_ids: Sequence[str]) -> None:
        """Noted."""
        self.acknowledged += lease_ids

    def publish(self, checkpoint_key: str) -> int:
        """Never called here."""
        raise NotImplementedError(checkpoint_key)

    def interrupt(self) -> None:
        """Nothing waits here."""
