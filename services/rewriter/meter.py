"""Asks the policy and adds up what it cost."""

from __future__ import annotations

import hashlib
import time

from retrograde.core.policy import Generation, Policy, Prompt, Sampling
from retrograde.core.problem import Cost
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger
from services.rewriter import metrics

_log = get_logger(__name__)


class Meter:
    """The policy, with the cost of all that was asked through this meter and the newest policy version met."""

    def __init__(self, policy: Policy) -> None:
        self.cost = Cost()
        self.policy_version = 0
        self._policy = policy

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation | None:
        """Draws completions, and notes their cost. None for a prompt that the policy refuses: it is too long for it."""
        started = time.monotonic()
        try:
            generation = await self._policy.generate(prompt, sampling)
        except InvalidInputError as error:
            _log.info("prompt refused", reason=str(error))
            return None
        cost = Cost(
            prompt_tokens=len(generation.prompt_token_ids),
            generated_tokens=sum(completion.num_tokens for completion in generation.completions),
            wall_seconds=time.monotonic() - started,
            accelerator_seconds=generation.engine_seconds,
        )
        metrics.TOKENS.labels(kind="prompt").inc(cost.prompt_tokens)
        metrics.TOKENS.labels(kind="generated").inc(cost.generated_tokens)
        self.cost.add(cost)
        self.policy_version = max(self.policy_version, generation.policy_version)
        return generation


def seed_of(*parts: object) -> int:
    """A seed in [0, 2^63) that is the same for the same `parts`."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
