"""`python -m benchmarks.grpo_job --config X`: a GRPO job on rollouts that are ready a given time after the asking.

Generation is somebody else's machine here: a pull takes the time that the feed's name says ("feed@1.5") and no core.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime import logs
from retrograde.runtime.adapters import open_store
from retrograde.runtime.settings import load_settings
from services.trainer.job.grpo_loop import train
from services.trainer.job.settings import GrpoJobSettings

VOCABULARY = 512
PROMPT_TOKENS = 24


class TimedRollouts:
    """RolloutSource of random groups."""

    def __init__(self, group_size: int, max_tokens: int, pull_seconds: float) -> None:
        self._group_size = group_size
        self._max_tokens = max_tokens
        self._pull_seconds = pull_seconds
        self._interrupted = threading.Event()
        self._num_groups = self._version = 0

    def open(self) -> None:
        """Nothing to open."""

    def publish(self, checkpoint_key: str) -> int:  # noqa: ARG002 - of the port
        """The weights do not matter here."""
        self._version += 1
        return self._version

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """New groups, after a while."""
        groups = random_groups(num_groups, self._group_size, self._max_tokens, self._num_groups, min_policy_version)
        self._num_groups += num_groups
        if self._interrupted.wait(self._pull_seconds):
            raise InterruptedError
        return groups

    def ack(self, lease_ids: Sequence[str]) -> None:
        """Nobody asks."""

    def interrupt(self) -> None:
        """Ends the wait."""
        self._interrupted.set()


def random_groups(
    num_groups: int, group_size: int, max_tokens: int, first: int = 0, policy_version: int = 0
) -> list[RolloutGroup]:
    """Groups number `first` and on, of completions of max_tokens / 8 to max_tokens, short ones more often."""
    return [_group(number, group_size, max_tokens, policy_version) for number in range(first, first + num_groups)]


def _group(number: int, group_size: int, max_tokens: int, policy_version: int) -> RolloutGroup:
    rng = np.random.default_rng(number)
    lengths = np.exp(rng.uniform(np.log(max_tokens / 8), np.log(max_tokens), group_size)).astype(int)
    samples = tuple(_sample(rng, int(length)) for length in lengths)
    prompt = rng.integers(1, VOCABULARY, PROMPT_TOKENS).astype(np.int32)
    problem = Problem(id=str(number), task="bench", statement="?", gold="1")
    return RolloutGroup(f"g{number}", f"g{number}/a", problem, prompt, samples, policy_version, 0)


def _sample(rng: np.random.Generator, length: int) -> Sample:
    tokens = rng.integers(1, VOCABULARY, length).astype(np.int32)
    logprobs = np.full(length, -np.log(VOCABULARY), np.float32)
    return Sample(tokens, logprobs, "", "stop", Grade(Verdict.CORRECT), float(rng.normal()), 0)


def main() -> None:
    """Trains on them."""
    settings = load_settings(GrpoJobSettings)
    logs.configure("bench-grpo")
    pull_seconds = float(settings.feed.partition("@")[2])
    source = TimedRollouts(settings.rl.group_size, settings.rl.max_tokens, pull_seconds)
    train(settings, open_store(settings.store), source)


if __name__ == "__main__":
    main()
