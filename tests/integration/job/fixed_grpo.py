"""GRPO on rollouts that do not depend on the policy: `python fixed_grpo.py --config grpo.yaml`.

Groups are a function of their ticket, so that two jobs that use the same tickets at the same steps end with the same
weights. What is acknowledged is kept beside the work folder; a feed called "feed@0.5" takes half a second for a pull.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime import logs
from retrograde.runtime.adapters import open_store
from retrograde.runtime.settings import load_settings
from services.trainer.job.grpo_loop import train
from services.trainer.job.settings import GrpoJobSettings

NUM_WORDS = 10
NUM_TOKENS = 8


class FixedRollouts:
    """RolloutSource over tickets in order; notes which policy each was asked for under."""

    def __init__(self, tickets: Path, group_size: int, pull_seconds: float) -> None:
        self._tickets = tickets
        self._group_size = group_size
        self._pull_seconds = pull_seconds
        self._interrupted = threading.Event()
        self._acknowledged: list[int] = []
        self._next = self._version = 0

    def open(self) -> None:
        """What was acknowledged in an earlier life is used; the rest is free again."""
        if self._tickets.exists():
            self._acknowledged = json.loads(self._tickets.read_text())
        self._next = len(self._acknowledged)
        assert sorted(self._acknowledged) == list(range(self._next))

    def publish(self, checkpoint_key: str) -> int:
        """The weights do not matter here."""
        self._version += 1
        return self._version

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """The next tickets, after a while."""
        assert min_policy_version <= self._version
        if self._interrupted.wait(self._pull_seconds):
            raise InterruptedError
        tickets = range(self._next, self._next + num_groups)
        self._next += num_groups
        return [self._group(ticket, min_policy_version) for ticket in tickets]

    def ack(self, lease_ids: Sequence[str]) -> None:
        """Kept in the file; refuses what is acknowledged already."""
        tickets = [int(lease_id) for lease_id in lease_ids]
        assert not set(tickets) & set(self._acknowledged)
        self._acknowledged += tickets
        self._tickets.write_text(json.dumps(self._acknowledged))

    def interrupt(self) -> None:
        """Ends the wait."""
        self._interrupted.set()

    def _group(self, ticket: int, policy_version: int) -> RolloutGroup:
        rng = np.random.default_rng(ticket)
        samples = tuple(self._sample(rng) for _ in range(self._group_size))
        problem = Problem(id=str(ticket), task="toy", statement="bc", gold="a")
        prompt = np.array([3, 4, 1], np.int32)
        return RolloutGroup(f"group-{ticket:06d}", str(ticket), problem, prompt, samples, policy_version, 0)

    def _sample(self, rng: np.random.Generator) -> Sample:
        tokens = rng.integers(0, NUM_WORDS, int(rng.integers(2, NUM_TOKENS))).astype(np.int32)
        logprobs = (-2.3 + 0.1 * rng.normal(size=len(tokens))).astype(np.float32)
        return Sample(tokens, logprobs, "", "stop", Grade(Verdict.CORRECT), float(rng.normal()), 0)


def main() -> None:
    """Trains on the tickets."""
    settings = load_settings(GrpoJobSettings)
    logs.configure("fixed-grpo")
    tickets = settings.work_dir.with_suffix(".tickets")
    pull_seconds = float(settings.feed.partition("@")[2] or 0)
    train(settings, open_store(settings.store), FixedRollouts(tickets, settings.rl.group_size, pull_seconds))


if __name__ == "__main__":
    main()
