"""Asks what searches want to know: log first, then feed.

    replay the log -> ask all calls in flight -> as replies arrive: append to the log -> feed -> ask what follows ...

A call waits for its turn at the engine, is answered by the policy, has its ends graded, and is logged with whatever
else arrived while the last put ran. It is fed in the order of arrival, or held back until the calls before it are fed
(`feed_order`); what is held back is bounded by the search's calls in flight.

A call's seed comes from the run's seed, the problem and the call's index: asked again, it is the same question.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from retrograde.core.policy import Generation, Prompt, Sampling, Verifier
from retrograde.core.problem import Cost, Grade
from retrograde.core.search import Call, Search
from retrograde.core.tree import ROOT, SearchTree
from retrograde.runtime import spans
from retrograde.runtime.errors import InvalidInputError, OtherPolicyError
from retrograde.runtime.logs import get_logger
from retrograde.wire.records import Record, without_token_logprobs
from services.search import metrics
from services.search.calls import CallsInFlight
from services.search.engine_gate import EngineGate

FeedOrder = Literal["index", "arrival"]
Turn = Callable[[int], AbstractAsyncContextManager[None]]
"""From samples to a context that is entered when the engine has room for them."""
INTERACTIVE = 1 << 31
"""Priority of a search somebody watches: above that of every queued one."""
_log = get_logger(__name__)


class TreePolicy(Protocol):
    """A model that may be served by several replicas, at times of different policy versions."""

    async def generate(self, prompt: Prompt, sampling: Sampling, *, key: str, policy_version: int) -> Generation:
        """Draws completions where those under the same `key` were drawn; of `policy_version` alone unless it is 0."""


class Log(Protocol):
    """Where a search's calls are kept; `TreeLog` is durable, `NoLog` forgets."""

    async def read(self) -> list[Record]:
        """The records to continue from, in the order of arrival."""

    def truncate(self, num_records: int) -> None:
        """Goes on after the first `num_records`."""

    async def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns."""


class NoLog:
    """For a search somebody watches: it ends with its caller."""

    async def read(self) -> list[Record]:
        """Nothing."""
        return []

    def truncate(self, num_records: int) -> None:
        """Nothing to forget."""

    async def append(self, records: Sequence[Record]) -> None:
        """Forgets them."""


def call_seed(seed: int, problem_id: str, index: int) -> int:
    """A seed in [0, 2^63) for the `index`-th call on a problem."""
    digest = hashlib.blake2b(f"{seed}/{problem_id}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class _Feeder:
    """Feeds durable records to a search, in its order, and counts what they cost."""

    def __init__(self, search: Search, feed_order: FeedOrder) -> None:
        self._search = search
        self._in_order = feed_order == "index"
        self._held: dict[int, Record] = {}

    def to_ask(self) -> list[Call]:
        """Calls in flight without a record, oldest first."""
        return [call for call in self._search.in_flight.values() if call.index not in self._held]

    def fits(self, record: Record) -> bool:
        """Whether a record of a log answers a question of this search that no record before it answers."""
        call = record.call
        if call.index in self._held or self._search.in_flight.get(call.index) != call:
            return False
        return self._search.to_grade(call, record.generation.completions).keys() == record.grades.keys()

    def take(self, record: Record) -> Iterator[Record]:
        """Feeds the record, or holds it back; yields each record after it was fed."""
        self._held[record.call.index] = record
        while self._held:
            index = next(iter(self._search.in_flight)) if self._in_order else record.call.index
            if index not in self._held:
                return
            ready = self._held.pop(index)
            self._feed(ready)
            yield ready

    def _feed(self, record: Record) -> None:
        provenance = self._search.tree.provenance
        self._search.feed(record.call, record.reply)
        provenance.cost.add(record.cost)
        if record.generation.completions:
            provenance.policy_version = record.generation.policy_version


class Driver:
    """Drives searches; one for all trees. Without a gate every call is asked at once."""

    def __init__(self, policy: TreePolicy, verifier: Verifier, gate: EngineGate | None = None) -> None:
        self._policy = policy
        self._verifier = verifier
        self._gate = gate or EngineGate(float("inf"))
        self._numbers = itertools.count()

    async def run(
        self,
        search: Search,
        log: Log,
        feed_order: FeedOrder = "index",
        drain: asyncio.Event | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[Record]:
        """Takes `search` from where `log` ends to its end, yielding each record once it is fed.

        Of searches that wait for the engine those of a higher `priority` are asked first.
        Once `drain` is set no call is asked any more: what is in flight is logged, and `search.done` stays false.
        The tree's provenance collects the cost and the policy version; its seed must be set.
        """
        feeder = _Feeder(search, feed_order)
        for position, record in enumerate(await log.read()):
            if not feeder.fits(record):
                _log.warning("tree log is of another search", problem_id=search.tree.problem.id, record=position)
                log.truncate(position)
                break
            metrics.CALLS.labels(kind=record.call.kind.value, source="log").inc()
            for fed in feeder.take(record):
                yield fed
        drain = drain or asyncio.Event()
        turn = functools.partial(self._gate.inside, next(self._numbers), priority=priority)
        ask = functools.partial(self._ask, search, turn=turn, drain=drain)
        async with CallsInFlight(ask) as calls:
            while True:
                if not drain.is_set():
                    calls.start(feeder.to_ask())
                if not calls:
                    return
                for record in await _logged(log, await calls.arrived()):
                    for fed in feeder.take(record):
                        yield fed

    async def _ask(self, search: Search, call: Call, *, turn: Turn, drain: asyncio.Event) -> Record | None:
        """The answer to `call`, with its ends graded; None if it was drained before its turn came."""
        with spans.record(call.kind.value, about={"retrograde.node": call.node, "retrograde.call": call.index}):
            return await self._answer(search, call, turn, drain)

    async def _answer(self, search: Search, call: Call, turn: Turn, drain: asyncio.Event) -> Record | None:
        tree = search.tree
        async with turn(call.num_samples):
            if drain.is_set():
                return None
            started = time.monotonic()
            generation = await self._generate(search, call)
        _pin(tree, generation)
        generation, num_prompt_tokens = without_token_logprobs(generation), len(generation.prompt_token_ids)
        texts = search.to_grade(call, generation.completions)
        answers = await self._verifier.verify([(tree.problem, text) for text in texts.values()])
        grades: dict[int, Grade] = dict(zip(texts, answers, strict=True))
        cost = Cost(
            prompt_tokens=num_prompt_tokens,
            generated_tokens=sum(completion.num_tokens for completion in generation.completions),
            verifier_calls=len(grades),
            wall_seconds=time.monotonic() - started,
            accelerator_seconds=generation.engine_seconds,
            model_calls=1,
        )
        return Record(call, generation, grades, cost)

    async def _generate(self, search: Search, call: Call) -> Generation:
        """The policy's answer; none at all where the steps so far leave no room in the model's length.

        The root was answered with the same sampling, so below it only the length of the prompt can be refused.
        """
        problem_id, provenance = search.tree.problem.id, search.tree.provenance
        sampling = search.sampling(call, call_seed(provenance.seed, problem_id, call.index))
        key, version = f"{provenance.run_id}/{problem_id}", provenance.policy_version
        try:
            return await self._policy.generate(search.prompt(call), sampling, key=key, policy_version=version)
        except InvalidInputError as error:
            if call.node == ROOT:
                raise
            _log.info("node not continued", problem_id=problem_id, node=call.node, reason=str(error))
            return Generation(())


def _pin(tree: SearchTree, generation: Generation) -> None:
    """A tree is of one policy: that of its first reply. Raises OtherPolicyError for a reply of another."""
    pinned, version = tree.provenance.policy_version, generation.policy_version
    if generation.completions and not pinned:
        tree.provenance.policy_version = version
    elif generation.completions and version != pinned:
        raise OtherPolicyError(f"policy_version: the tree was begun under {pinned} and {version} answered; begin again")


async def _logged(log: Log, records: list[Record]) -> list[Record]:
    """The records, durable."""
    if records:
        started = time.monotonic()
        await log.append(records)
        metrics.LOG_SECONDS.observe(time.monotonic() - started)
    for record in records:
        _count(record)
    return records


def _count(record: Record) -> None:
    kind = record.call.kind.value
    metrics.CALLS.labels(kind=kind, source="model").inc()
    metrics.CALL_SECONDS.labels(kind=kind).observe(record.cost.wall_seconds)
    metrics.TOKENS.labels(kind="prompt").inc(record.cost.prompt_tokens)
    metrics.TOKENS.labels(kind="generated").inc(record.cost.generated_tokens)
    for verdict, count in Counter(grade.verdict for grade in record.grades.values()).items():
        metrics.VERDICTS.labels(verdict=verdict.value).inc(count)
