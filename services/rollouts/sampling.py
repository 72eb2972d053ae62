"""One prompt -> one graded group: sampled by the policy, judged by the verifier, rewarded, with its cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrograde.core.policy import Completion, Generation, Policy, Prompt, Sampling, Verifier
from retrograde.core.problem import Cost, Grade, Problem, Verdict
from retrograde.core.rollout import REWARDS, RolloutGroup, Sample
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger
from retrograde.tasks.task import Task, TaskError, load_task
from services.rollouts.metrics import SAMPLES, UNGRADED
from services.rollouts.settings import FeedSettings
from services.rollouts.slots import Slots
from services.rollouts.tickets import Ticket

log = get_logger(__name__)

_SMALLEST_GROUP = 2
_SAMPLING_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Sampler:
    """Of one feed. `slots` bounds the groups that all feeds sample at the same time."""

    feed: str
    settings: FeedSettings
    policy: Policy
    verifier: Verifier
    slots: Slots

    async def group(self, ticket: Ticket, problem: Problem) -> RolloutGroup | None:
        """A group without a lease; None when, asked repeatedly, the verifier judges fewer than two samples.

        Raises InvalidInputError, which names the problem, where its task cannot read it.
        """
        try:
            return await self._group(ticket, problem)
        except TaskError as error:
            raise InvalidInputError(f"prompt {problem.id!r}: {error}") from error

    async def _group(self, ticket: Ticket, problem: Problem) -> RolloutGroup | None:
        task, spent = load_task(problem.task), Cost()
        for _ in range(_SAMPLING_ATTEMPTS):
            began = time.perf_counter()
            async with self.slots.held_by(self.feed):
                generation = await self._generate(Prompt(task.prompt(problem), chat=task.chat))
            grades = await self.verifier.verify([(problem, each.text) for each in generation.completions])
            samples = graded_samples(task, problem, generation, grades)
            spent.add(_cost(generation, time.perf_counter() - began))
            if len(samples) >= _SMALLEST_GROUP:
                return _group(ticket, problem, generation, with_costs(samples, spent))
        log.warning("not graded", feed=self.feed, problem=problem.id, num_attempts=_SAMPLING_ATTEMPTS)
        return None

    async def _generate(self, prompt: Prompt) -> Generation:
        sampling = Sampling(
            n=self.settings.group_size,
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_tokens,
            logprobs=True,
        )
        return await self.policy.generate(prompt, sampling)


def graded_samples(task: Task, problem: Problem, generation: Generation, grades: Sequence[Grade]) -> list[Sample]:
    """Samples with a reward; those without a verdict on the answer are counted and left out."""
    samples = []
    for completion, grade in zip(generation.completions, grades, strict=True):
        SAMPLES.labels(verdict=grade.verdict.value).inc()
        if grade.verdict in REWARDS:
            samples.append(_sample(task, problem, completion, grade, generation.policy_versions))
        else:
            UNGRADED.inc()
    return samples


def with_costs(samples: Sequence[Sample], spent: Cost) -> tuple[Sample, ...]:
    """Shares out what a group cost: each its own tokens and judging, the first one the rest, so that they add up."""
    own = [Cost(generated_tokens=len(sample.token_ids), verifier_calls=1) for sample in samples]
    own[0] = replace(
        spent,
        generated_tokens=spent.generated_tokens - sum(cost.generated_tokens for cost in own[1:]),
        verifier_calls=spent.verifier_calls - len(own[1:]),
    )
    return tuple(replace(sample, cost=cost) for sample, cost in zip(samples, own, strict=True))


def right_share(group: RolloutGroup) -> float:
    """The share of right answers."""
    return float(np.mean([sample.grade.verdict is Verdict.CORRECT for sample in group.samples]))


def _sample(
    task: Task, problem: Problem, completion: Completion, grade: Grade, policy_versions: tuple[int, int]
) -> Sample:
    return Sample(
        token_ids=completion.token_ids,
        logprobs=completion.logprobs,
        text=completion.text,
        finish_reason=completion.finish_reason,
        grade=grade,
        reward=REWARDS[grade.verdict],
        backtracks=task.returns(problem, completion.text)[0],
        policy_versions=policy_versions,
    )


def _cost(generation: Generation, wall_seconds: float) -> Cost:
    """Of one request and its judging."""
    return Cost(
        prompt_tokens=len(generation.prompt_token_ids),
        generated_tokens=sum(each.num_tokens for each in generation.completions),
        verifier_calls=len(generation.completions),
        wall_seconds=wall_seconds,
        accelerator_seconds=generation.engine_seconds,
        model_calls=1,
    )


def _group(ticket: Ticket, problem: Problem, generation: Generation, samples: tuple[Sample, ...]) -> RolloutGroup:
    return RolloutGroup(
        id=ticket.id,
        lease_id="",
        problem=problem,
        prompt_token_ids=generation.prompt_token_ids,
        samples=samples,
        policy_version=generation.policy_version,
        epoch=ticket.epoch,
    )
