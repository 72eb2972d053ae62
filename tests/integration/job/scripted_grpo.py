"""GRPO fed by a script instead of the rollouts service: `python scripted_grpo.py --config grpo.yaml`.

The script really samples from the weights published last. A sample's reward is +1 if most of its letters are "a", which
a random policy seldom writes and a trained one always can. Prompts are tickets; which are acknowledged is kept in
`work_dir/../tickets.json`, so that a killed job finds its feed as it left it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime import logs
from retrograde.runtime.adapters import open_store
from retrograde.runtime.objects import ObjectStore
from retrograde.runtime.settings import load_settings
from services.trainer.job.grpo_loop import train
from services.trainer.job.settings import GrpoJobSettings

PROMPT = np.array([3, 4, 1], np.int32)  # "bc:"
LETTER_A = 2
NUM_TOKENS = 8


class SamplingScript:
    """RolloutSource over a file of acknowledged tickets and the store's published weights."""

    def __init__(self, store: ObjectStore, folder: Path, group_size: int) -> None:
        self._store = store
        self._folder = folder
        self._tickets = folder / "tickets.json"
        self._group_size = group_size
        self._version = 0
        self._next = 0
        self._acknowledged: list[int] = json.loads(self._tickets.read_text()) if self._tickets.exists() else []

    def open(self) -> None:
        """What was not acknowledged is free again."""
        self._next = 0

    def publish(self, checkpoint_key: str) -> int:
        """Loads the weights from the store."""
        folder = self._folder / "sampler"
        self._store.download(checkpoint_key, folder)
        self._policy = AutoModelForCausalLM.from_pretrained(folder)
        self._version += 1
        return self._version

    def pull(self, num_groups: int, min_policy_version: int) -> list[RolloutGroup]:
        """The next free tickets, sampled now."""
        assert min_policy_version == self._version
        free = [ticket for ticket in range(self._next, self._next + 10_000) if ticket not in self._acknowledged]
        self._next = free[num_groups - 1] + 1
        return [self._sample(ticket) for ticket in free[:num_groups]]

    def ack(self, lease_ids: Sequence[str]) -> None:
        """Kept in the file; those that are acknowledged already are fine."""
        self._acknowledged += [int(lease) for lease in lease_ids if int(lease) not in self._acknowledged]
        self._tickets.write_text(json.dumps(self._acknowledged))

    def interrupt(self) -> None:
        """Nothing here waits."""

    @torch.no_grad()
    def _sample(self, ticket: int) -> RolloutGroup:
        generator = torch.Generator().manual_seed(ticket)
        tokens = torch.tensor(PROMPT, dtype=torch.int64).repeat(self._group_size, 1)
        logprobs = []
        for _ in range(NUM_TOKENS):
            distribution = torch.log_softmax(self._policy(tokens).logits[:, -1], dim=-1)
            chosen = torch.multinomial(distribution.exp(), 1, generator=generator)
            logprobs.append(distribution.gather(1, chosen))
            tokens = torch.cat([tokens, chosen], dim=1)
        written, told = tokens[:, len(PROMPT) :].numpy(), torch.cat(logprobs, dim=1).numpy()
        samples = tuple(_sample(row.astype(np.int32), own) for row, own in zip(written, told, strict=True))
        problem = Problem(id=str(ticket), task="toy", statement="bc", gold="a")
        return RolloutGroup(f"group-{ticket:06d}", str(ticket), problem, PROMPT, samples, self._version, 0)


def _sample(tokens: np.ndarray, logprobs: np.ndarray) -> Sample:
    right = (tokens == LETTER_A).mean() > 1 / 3
    grade = Grade(Verdict.CORRECT if right else Verdict.INCORRECT)
    return Sample(tokens, logprobs.astype(np.float32), "", "length", grade, 1.0 if right else -1.0, 0)


def main() -> None:
    """Trains on the script."""
    settings = load_settings(GrpoJobSettings)
    logs.configure("scripted-grpo")
    store = open_store(settings.store)
    train(settings, store, SamplingScript(store, settings.work_dir.parent, settings.rl.group_size))


if __name__ == "__main__":
    main()
