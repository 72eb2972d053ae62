"""Walks in words, checked by machine: by template, or in a model's words with the template to fall back on.

    draft all walks -> have all of them graded in one call -> check each -> what a model told wrongly: template, again

A step the model retells wrongly is asked for again up to `max_attempts` times, then told by template; a retelling that
is sound step by step but wrong as a whole is told by template from start to end. Both are counted LLM_THEN_TEMPLATE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from retrograde.core.invariants import Violation, check_solution
from retrograde.core.policy import Completion, Policy, Prompt, Sampling, Verifier
from retrograde.core.problem import Cost
from retrograde.core.retelling import Retelling
from retrograde.core.rewrite import rewrite_by_template, solution_id
from retrograde.core.settings import RewriteSettings
from retrograde.core.solution import Rewriter, SearchTrace, Solution
from retrograde.core.tree import SearchTree
from retrograde.tasks.task import Task, TaskError
from services.rewriter import metrics
from services.rewriter.graded import with_grade
from services.rewriter.meter import Meter, seed_of

CUT_SHORT = "cut_short"
"""The model's words ran into `max_sentence_tokens`."""

NO_ROOM = "no_room"
"""What is told so far leaves no room in the model's length."""

NO_WORDS = "no_words"
"""The task cannot name a state that the walk returns to."""


@dataclass(slots=True)
class Told:
    """A walk told, or not: `faults` are the broken invariants of the last draft, `refused` those of earlier words."""

    trace: SearchTrace
    solution: Solution | None = None
    faults: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    policy_version: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is told, and how."""

    tree: SearchTree
    task: Task
    settings: RewriteSettings


class Teller:
    """Tells walks; one for all trees."""

    def __init__(self, policy: Policy, verifier: Verifier) -> None:
        self._policy = policy
        self._verifier = verifier

    async def tell(self, subject: Subject, traces: Sequence[SearchTrace]) -> list[Told]:
        """Every walk told and checked; `solution` is None where even the template breaks an invariant."""
        tolds = [Told(trace) for trace in traces]
        if subject.settings.method == "llm":
            await asyncio.gather(*(self._retell(subject, told) for told in tolds))
            await self._check(subject, tolds)
        untold = [told for told in tolds if told.solution is None]
        for told in untold:
            told.refused += told.faults
            told.faults = []
            _tell_by_template(subject, told)
        await self._check(subject, untold)
        return tolds

    async def _retell(self, subject: Subject, told: Told) -> None:
        """Sets the solution to the model's words."""
        meter = Meter(self._policy)
        try:
            retelling = Retelling(subject.tree, told.trace, subject.task, subject.settings)
            while retelling.next_prompt() is not None:
                if not await self._retell_step(subject, retelling, meter, told):
                    retelling.tell_raw()
            told.solution = retelling.solution()
        except TaskError:
            told.faults.append(NO_WORDS)
        told.cost.add(meter.cost)
        told.policy_version = meter.policy_version

    async def _retell_step(self, subject: Subject, retelling: Retelling, meter: Meter, told: Told) -> bool:
        """Whether one of `max_attempts` answers was taken; the reasons against the others are added to `told`."""
        prompt = Prompt(retelling.next_prompt() or "", chat=subject.task.chat)
        name = solution_id(subject.tree, told.trace)  # walks that begin alike are told in different words
        for attempt in range(subject.settings.max_attempts):
            sampling = Sampling(
                temperature=subject.settings.temperature,
                max_tokens=subject.settings.max_sentence_tokens,
                seed=seed_of(subject.tree.provenance.seed, name, prompt.text, attempt),
            )
            generation = await meter.generate(prompt, sampling)
            if generation is None:
                told.refused.append(NO_ROOM)
                return False
            reasons = _feed(retelling, generation.completions[0])
            metrics.ATTEMPTS.labels(outcome=reasons[0] if reasons else "told").inc()
            if not reasons:
                return True
            told.refused += reasons
        return False

    async def _check(self, subject: Subject, tolds: Sequence[Told]) -> None:
        """Has the solutions graded, and takes back those that break an invariant."""
        drafts = [(told, told.solution) for told in tolds if told.solution is not None]
        if not drafts:
            return
        grades = await self._verifier.verify([(draft.problem, draft.completion) for _, draft in drafts])
        for (told, draft), grade in zip(drafts, grades, strict=True):
            told.cost.verifier_calls += 1
            told.faults = _reasons(check_solution(draft, subject.tree, with_grade(subject.task, grade)))
            if told.faults:
                told.solution = None


def _feed(retelling: Retelling, completion: Completion) -> list[str]:
    if completion.finish_reason == "length":
        return [CUT_SHORT]
    return _reasons(retelling.feed(completion.text))


def _tell_by_template(subject: Subject, told: Told) -> None:
    try:
        told.solution = rewrite_by_template(subject.tree, told.trace, subject.task, subject.settings)
    except TaskError:
        told.faults.append(NO_WORDS)
        return
    if subject.settings.method == "llm":
        told.solution.rewriter = Rewriter.LLM_THEN_TEMPLATE


def _reasons(violations: Sequence[Violation]) -> list[str]:
    return [violation.reason.value for violation in violations]
