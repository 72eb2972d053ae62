"""A feed: prompts in an order, samples from the policy, grades from the verifier, a ledger of who holds what.

open   -> prompts and settings are read, the ledger is replayed
pull   -> tickets are taken; each is sampled and graded; lease stored; group delivered
ack    -> tickets are used for good
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from retrograde.core.policy import Completion, Generation, Policy, Prompt, Sampling, Verifier
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import Task, load_task
from services.rollouts.ledger import Ledger, Ticket, prompt_order
from services.rollouts.metrics import SAMPLES, UNGRADED
from services.rollouts.settings import FeedSettings

REWARDS = {Verdict.CORRECT: 1.0, Verdict.INCORRECT: -1.0, Verdict.UNPARSABLE: -1.0}
"""The paper's reward. A timeout or an error is no verdict on the answer: such a sample is left out of its group."""

_SMALLEST_GROUP = 2
_SAMPLING_ATTEMPTS = 3


@dataclass(slots=True)
class Feed:
    """One named feed. `slots` bounds the groups sampled at the same time; `lock` orders changes of the ledger."""

    name: str
    problems: Sequence[Problem]
    settings: FeedSettings
    ledger: Ledger
    policy: Policy
    verifier: Verifier
    slots: asyncio.Semaphore
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def pull(self, num_groups: int, min_policy_version: int) -> AsyncIterator[RolloutGroup]:
        """`num_groups` groups as they become ready, each leased before it is yielded."""
        async with self.lock:
            tickets = self.ledger.take(num_groups, time.time())
        tasks = [asyncio.create_task(self._sample(ticket, min_policy_version)) for ticket in tickets]
        try:
            for next_ready in asyncio.as_completed(tasks):
                ticket, group = await next_ready
                await self._lease(ticket, group)
                yield group
        finally:
            for task in tasks:
                task.cancel()
            self.ledger.give_back(tickets)

    async def acknowledge(self, lease_ids: Sequence[str]) -> int:
        """Marks the groups used; returns how many the feed has used in all."""
        async with self.lock:
            await asyncio.to_thread(self.ledger.acknowledge, lease_ids)
            return len(self.ledger.used)

    async def _lease(self, ticket: Ticket, group: RolloutGroup) -> None:
        async with self.lock:
            lapses_at = time.time() + self.settings.lease_seconds
            await asyncio.to_thread(self.ledger.lease, group.lease_id, ticket, lapses_at)

    async def _sample(self, ticket: Ticket, min_policy_version: int) -> tuple[Ticket, RolloutGroup]:
        order = prompt_order(len(self.problems), self.settings.seed, ticket.epoch)
        problem = self.problems[order[ticket.position]]
        task = load_task(problem.task)
        for _ in range(_SAMPLING_ATTEMPTS):
            async with self.slots:
                generation = await self._generate(Prompt(task.prompt(problem), chat=task.chat), min_policy_version)
            grades = await self.verifier.verify([(problem, sample.text) for sample in generation.completions])
            samples = graded_samples(task, problem, generation.completions, grades)
            if len(samples) >= _SMALLEST_GROUP:
                return ticket, self._group(ticket, problem, generation, samples)
        raise UnavailableError(f"feed {self.name}: problem {problem.id} could not be graded; is the verifier healthy?")

    async def _generate(self, prompt: Prompt, min_policy_version: int) -> Generation:
        sampling = Sampling(
            n=self.settings.group_size,
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_tokens,
            logprobs=True,
        )
        generation = await self.policy.generate(prompt, sampling)
        if generation.policy_version < min_policy_version:
            raise UnavailableError(f"policy {generation.policy_version} is served; {min_policy_version} was asked for")
        return generation

    def _group(
        self, ticket: Ticket, problem: Problem, generation: Generation, samples: tuple[Sample, ...]
    ) -> RolloutGroup:
        return RolloutGroup(
            id=ticket.id,
            lease_id=f"{ticket.id}/{uuid.uuid4().hex[:12]}",
            problem=problem,
            prompt_token_ids=generation.prompt_token_ids,
            samples=samples,
            policy_version=generation.policy_version,
            epoch=ticket.epoch,
        )


def graded_samples(
    task: Task, problem: Problem, completions: Sequence[Completion], grades: Sequence[Grade]
) -> tuple[Sample, ...]:
    """Samples with a reward; those without a verdict on the answer are counted and left out."""
    samples = []
    for completion, grade in zip(completions, grades, strict=True):
        SAMPLES.labels(verdict=grade.verdict.value).inc()
        if grade.verdict not in REWARDS:
            UNGRADED.inc()
            continue
        samples.append(
            Sample(
                token_ids=completion.token_ids,
                logprobs=completion.logprobs,
                text=completion.text,
                finish_reason=completion.finish_reason,
                grade=grade,
                reward=REWARDS[grade.verdict],
                backtracks=task.returns(problem, completion.text)[0],
            )
        )
    return tuple(samples)


@dataclass(slots=True)
class Feeds:
    """All feeds of this service, opened on demand: a restarted service finds a feed by its stored description."""

    store: ObjectStore
    policy: Policy
    verifier: Verifier
    slots: asyncio.Semaphore
    open_feeds: dict[str, Feed] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self, name: str, prompts_key: str, settings: FeedSettings) -> Feed:
        """A trainer's new session on feed `name`. Raises ConflictError when it exists with another description."""
        description: dict[str, object] = {"prompts_key": prompts_key, "settings": settings.model_dump(mode="json")}
        async with self.lock:
            await asyncio.to_thread(self._describe, name, description)
        feed = await self.get(name)
        async with feed.lock:
            await asyncio.to_thread(feed.ledger.hand_back_all)
        return feed

    async def get(self, name: str) -> Feed:
        """The feed called `name`. Raises NotFoundError when it was never opened."""
        async with self.lock:
            if name not in self.open_feeds:
                self.open_feeds[name] = await asyncio.to_thread(self._load, name)
            return self.open_feeds[name]

    def _describe(self, name: str, description: dict[str, object]) -> None:
        key = f"{name}/feed.json"
        if not self.store.exists(key):
            self.store.put(key, json.dumps(description).encode())
        elif json.loads(self.store.get(key)) != description:
            raise ConflictError(f"feed: {name!r} exists with other prompts or settings; open it under another name")

    def _load(self, name: str) -> Feed:
        try:
            description = json.loads(self.store.get(f"{name}/feed.json"))
        except NotFoundError as error:
            raise NotFoundError(f"feed: {name!r} is unknown; open it with OpenFeed first") from error
        problems = read_problems(self.store, description["prompts_key"])
        ledger = Ledger(self.store, name, len(problems))
        ledger.replay()
        settings = FeedSettings.model_validate(description["settings"])
        return Feed(name, problems, settings, ledger, self.policy, self.verifier, self.slots)


def read_problems(store: ObjectStore, key: str) -> list[Problem]:
    """The JSON lines of Problem under `key`. Raises InvalidInputError when there is none."""
    problems = [Problem(**json.loads(line)) for line in store.get(key).decode().splitlines()]
    if not problems:
        raise InvalidInputError(f"prompts_key: {key!r} holds no problem; a feed needs at least one")
    return problems
