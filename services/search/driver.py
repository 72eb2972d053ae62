"""Asks what a TreeSearch wants to know: log first, then feed.

    replay the log -> ask the policy -> have the ends graded -> append to the log -> feed -> ask ...

A call's seed comes from the run's seed, the problem and the call's index: asked again, it is the same question.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Protocol

from retrograde.core.mcts import Call, TreeSearch
from retrograde.core.policy import Generation, Policy, Verifier
from retrograde.core.problem import Cost, Grade
from retrograde.core.tree import ROOT
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger
from services.search import metrics
from services.search.tree_log import Record, without_token_logprobs

_log = get_logger(__name__)


class Log(Protocol):
    """Where a search's calls are kept; `TreeLog` is durable, `NoLog` forgets."""

    async def read(self) -> list[Record]:
        """The records to continue from, oldest first."""

    def truncate(self, num_records: int) -> None:
        """Goes on after the first `num_records`."""

    async def append(self, record: Record) -> None:
        """Durable when it returns."""


class NoLog:
    """For a search somebody watches: it ends with its caller."""

    async def read(self) -> list[Record]:
        """Nothing."""
        return []

    def truncate(self, num_records: int) -> None:
        """Nothing to forget."""

    async def append(self, record: Record) -> None:
        """Forgets it."""


def call_seed(seed: int, problem_id: str, index: int) -> int:
    """A seed in [0, 2^63) for the `index`-th call on a problem."""
    digest = hashlib.blake2b(f"{seed}/{problem_id}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Driver:
    """Drives searches; one for all trees."""

    def __init__(self, policy: Policy, verifier: Verifier) -> None:
        self._policy = policy
        self._verifier = verifier

    async def run(self, search: TreeSearch, log: Log) -> AsyncGenerator[Record]:
        """Takes `search` from where `log` ends to its end, yielding each record once it is fed.

        The tree's provenance collects the cost and the policy version; its seed must be set.
        """
        for index, record in enumerate(await log.read()):
            if record.call != search.next_call():
                _log.warning("tree log is of another search", problem_id=search.tree.problem.id, call_index=index)
                log.truncate(index)
                break
            _feed(search, record)
            metrics.CALLS.labels(kind=record.call.kind.value, source="log").inc()
            yield record
        while (call := search.next_call()) is not None:
            record = await self._ask(search, call)
            started = time.monotonic()
            await log.append(record)
            metrics.LOG_SECONDS.observe(time.monotonic() - started)
            _feed(search, record)
            _count(record)
            yield record

    async def _ask(self, search: TreeSearch, call: Call) -> Record:
        started = time.monotonic()
        tree = search.tree
        seed = call_seed(tree.provenance.seed, tree.problem.id, call.index)
        generation = await self._generate(search, call, seed)
        texts = search.to_grade(call, generation.completions)
        answers = await self._verifier.verify([(tree.problem, text) for text in texts.values()])
        grades: dict[int, Grade] = dict(zip(texts, answers, strict=True))
        cost = Cost(
            prompt_tokens=len(generation.prompt_token_ids),
            generated_tokens=sum(completion.num_tokens for completion in generation.completions),
            verifier_calls=len(grades),
            wall_seconds=time.monotonic() - started,
            accelerator_seconds=generation.engine_seconds,
        )
        return Record(call, without_token_logprobs(generation), grades, cost)

    async def _generate(self, search: TreeSearch, call: Call, seed: int) -> Generation:
        """The policy's answer; none at all where the steps so far leave no room in the model's length.

        The root was answered with the same sampling, so below it only the length of the prompt can be refused.
        """
        try:
            return await self._policy.generate(search.prompt(call), search.sampling(call, seed))
        except InvalidInputError as error:
            if call.node == ROOT:
                raise
            _log.info("node not continued", problem_id=search.tree.problem.id, node=call.node, reason=str(error))
            return Generation(())


def _feed(search: TreeSearch, record: Record) -> None:
    search.feed(record.call, record.reply)
    search.tree.provenance.cost.add(record.cost)
    if record.generation.completions:
        search.tree.provenance.policy_version = record.generation.policy_version


def _count(record: Record) -> None:
    kind = record.call.kind.value
    metrics.CALLS.labels(kind=kind, source="model").inc()
    metrics.CALL_SECONDS.labels(kind=kind).observe(record.cost.wall_seconds)
    metrics.TOKENS.labels(kind="prompt").inc(record.cost.prompt_tokens)
    metrics.TOKENS.labels(kind="generated").inc(record.cost.generated_tokens)
    for verdict, count in Counter(grade.verdict for grade in record.grades.values()).items():
        metrics.VERDICTS.labels(verdict=verdict.value).inc(count)
