"""A policy and a verifier that do what a test says, and feeds over a folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.adapters import open_store
from retrograde.v1.rollouts_service_pb2 import PullRolloutsResponse
from retrograde.wire.convert_rollout import rollout_group_from_proto, rollout_group_to_proto
from services.rollouts.delivery import Delivery
from services.rollouts.feed import Feed
from services.rollouts.feeds import Feeds
from services.rollouts.kept import Kept
from services.rollouts.pulls import Pull
from services.rollouts.slots import Slots

PROBLEMS = [Problem(f"p{i}", "countdown", f"Numbers: {i} 7 7, target: 28.", "28") for i in range(5)]
MIXED = (Verdict.CORRECT, Verdict.INCORRECT)


@dataclass
class ScriptedPolicy:
    """Answers with n texts that name the prompt and the request's number, of `lengths` tokens in turn.

    While `gate` is closed requests wait.
    """

    version: int = 3
    lengths: Sequence[int] = (2,)
    asked: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    most_running: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        number, version = len(self.asked), self.version
        self.asked.append(prompt.text)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.running -= 1
        length = self.lengths[number % len(self.lengths)]
        tokens = np.full(length, number, np.int32)
        completion = Completion(f"{number}", tokens, np.full(length, -0.5, np.float32), -0.5 * length)
        return Generation((completion,) * sampling.n, version, np.int32([7, 8]), engine_seconds=0.5)


@dataclass
class ScriptedVerifier:
    """Grades every sample of a group with the same verdicts, or those of its problem."""

    verdicts: Sequence[Verdict] = MIXED
    of_problem: dict[str, Sequence[Verdict]] = field(default_factory=dict)

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        verdicts = self.of_problem.get(items[0][0].id, self.verdicts)
        return [Grade(verdict) for _, verdict in zip(items, verdicts, strict=True)]


@dataclass
class Clock:
    """Time that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def service(
    folder: Path,
    policy: ScriptedPolicy | None = None,
    verifier: ScriptedVerifier | None = None,
    problems: Sequence[Problem] = PROBLEMS,
    num_slots: int = 8,
    max_kept_bytes: int = 1 << 20,
) -> AsyncIterator[Feeds]:
    """The service's feeds over a store that holds the prompts."""
    store = open_store(f"file://{folder}")
    store.put("prompts.jsonl", "\n".join(json.dumps(asdict(problem)) for problem in problems).encode())
    parts = (policy or ScriptedPolicy(), verifier or ScriptedVerifier())
    async with Feeds(store, *parts, Slots(num_slots), Kept(max_kept_bytes), asyncio.Event()) as feeds:
        yield feeds


async def pulled(
    feed: Feed, num_groups: int, min_policy_version: int = 0, consumer: str = "", max_unacknowledged: int = 0
) -> list[RolloutGroup]:
    """All groups of one pull."""
    pull = Pull(num_groups, min_policy_version, consumer, max_unacknowledged)
    return [received(delivery) async for batch in feed.pull(pull) for delivery in batch]


def received(delivery: Delivery) -> RolloutGroup:
    """As the consumer reads it."""
    return rollout_group_from_proto(PullRolloutsResponse.FromString(delivery.response).group)


def contents(groups: Sequence[RolloutGroup]) -> list[bytes]:
    """All that was delivered, but for the leases."""
    return [rollout_group_to_proto(replace(group, lease_id="")).SerializeToString() for group in groups]


def leases(groups: Sequence[RolloutGroup]) -> list[str]:
    """What is acknowledged."""
    return [group.lease_id for group in groups]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)
