"""Problems to trees to solutions: put on the topic, then watched until each is there.

The work itself is done by the search and rewriter services; this stage publishes what is missing, as far as the run's
budget goes, and reads what is stored. Messages that the broker has lost are published again (`lost`). A problem that
ended in a dead-letter topic counts as done; its name is in the stage's detail, as are the names of those that the
budget left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence

from retrograde.core.problem import Cost, Problem
from retrograde.runtime import tracing
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import messages_pb2, run_pb2, solution_pb2
from retrograde.wire.announcing import solutions_ready, tree_ready
from retrograde.wire.convert import cost_from_proto, problem_to_proto
from retrograde.wire.topics import (
    NUM_PARTITIONS,
    PROBLEMS_TOPIC,
    REWRITER_GROUP,
    SEARCH_GROUP,
    SOLUTIONS_TOPIC,
    TREES_TOPIC,
    cancelled_key,
)
from services.trainer.stages.grown_trees import GrownTrees
from services.trainer.stages.lost import DeadLetters, LostMessages, on_topic
from services.trainer.stages.run_budget import num_affordable
from services.trainer.stages.stage import Progress, RunContext, problems_from_bytes

_LOOK_EVERY_SECONDS = 1.0


class ProblemQueue:
    """The problems of a run, put on the topic from the first on; how many is stored before any of them is.

    A controller that died between the two puts those few on the topic again, which is one tree all the same. So does
    one that goes on with a cancelled run: workers passed its problems over.
    """

    def __init__(self, context: RunContext, problems: list[Problem]) -> None:
        self.problems = problems
        self.num_queued = 0
        self._context = context
        self._key = context.key("published.json")

    async def open(self) -> None:
        """Goes on where the run's last controller was; without figures it had put all of them on the topic."""
        await in_thread(self._context.broker.create_topic, PROBLEMS_TOPIC, NUM_PARTITIONS)
        if not await in_thread(self._context.store.exists, self._key):
            return
        known = json.loads(await in_thread(self._context.store.get, self._key))
        self.num_queued = known.get("num_queued", len(self.problems))
        num_published = known.get("num_published", self.num_queued)
        await self._publish(0 if await self._was_cancelled() else num_published)

    async def _was_cancelled(self) -> bool:
        """Whether it was, and is no longer: noted before workers take its problems again."""
        mark = cancelled_key(self._context.run_id)
        was = await in_thread(self._context.store.exists, mark)
        if was:
            await self._keep(num_published=0)
            await in_thread(self._context.store.delete, mark)
        return was

    async def grow(self, count: int) -> None:
        """Puts `count` more on the topic."""
        if count:
            first, self.num_queued = self.num_queued, self.num_queued + count
            await self._keep(num_published=first)
            await self._publish(first)

    @property
    def queued(self) -> set[str]:
        """Ids of those on the topic."""
        return {problem.id for problem in self.problems[: self.num_queued]}

    async def publish_again(self, problem_ids: set[str]) -> None:
        """Puts those that the broker has lost on the topic again."""
        for problem in self.problems[: self.num_queued]:
            if problem.id in problem_ids:
                await self._put(problem)

    async def _publish(self, first: int) -> None:
        for problem in self.problems[first : self.num_queued]:
            await self._put(problem)
        if first < self.num_queued:
            await self._keep(num_published=self.num_queued)

    async def _put(self, problem: Problem) -> None:
        context = self._context
        message = messages_pb2.ProblemQueued(
            run_id=context.run_id,
            problem=problem_to_proto(problem),
            settings_key=context.key("recipe.json"),
            priority=context.recipe.priority,
        )
        key = f"{context.run_id}/{problem.id}"
        with tracing.bound(tracing.trace_of({})):  # a problem is a trace, from here to its solutions
            await in_thread(context.broker.publish, PROBLEMS_TOPIC, key, message.SerializeToString())

    async def _keep(self, num_published: int) -> None:
        known = {"num_queued": self.num_queued, "num_published": num_published}
        await in_thread(self._context.store.put, self._key, json.dumps(known).encode())


class SearchStage:
    """Waits for `trees/<problem>.pb` of every problem that the run's budget allows."""

    name = "search"
    unit = "trees"
    serves = "base"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await serve(context, self.serves)
        data = await in_thread(context.store.get, context.key("problems/search.jsonl"))
        problems = ProblemQueue(context, problems_from_bytes(data))
        await problems.open()
        dead = await in_thread(DeadLetters, context, PROBLEMS_TOPIC)
        try:
            return await _search_all(context, problems, dead, progress)
        finally:
            await in_thread(dead.close)


async def _search_all(context: RunContext, problems: ProblemQueue, dead: DeadLetters, progress: Progress) -> Cost:
    """Until every queued problem has its tree or is given up, and no further one may be queued."""
    trees, recipe, total = GrownTrees(context.store, context.key("trees", "")), context.recipe, len(problems.problems)
    messages = LostMessages(context, PROBLEMS_TOPIC, SEARCH_GROUP)
    while True:
        waiting, lag = problems.queued, await messages.lag()
        given_up = await in_thread(dead.read)
        await in_thread(trees.read)
        await problems.publish_again(await messages.among(waiting - trees.ids - given_up, lag))
        num_unfinished, num_wanted = problems.num_queued - len(trees.ids), total - problems.num_queued
        room = num_affordable(recipe.run_budget, recipe.search, trees.cost, num_unfinished, num_wanted)
        await problems.grow(room)
        given_up -= trees.ids
        ended = trees.ids | given_up
        is_over = problems.queued <= ended
        unsearched = [problem.id for problem in problems.problems[problems.num_queued :]] if is_over else []
        told = (trees.figures(total), _given_up(given_up), _named("not searched, run_budget is spent", unsearched))
        await progress(len(ended), total, "; ".join(filter(None, told)))
        if is_over:
            return trees.cost
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


class RewriteStage:
    """Waits for `solutions/<problem>.pb` of every tree."""

    name = "rewrite"
    unit = "trees"
    serves = "base"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await serve(context, self.serves)
        wanted = set(await in_thread(_stored, context, "trees"))
        await in_thread(context.broker.create_topic, TREES_TOPIC, NUM_PARTITIONS)
        dead = await in_thread(DeadLetters, context, TREES_TOPIC)
        try:
            await _rewrite_all(context, wanted, dead, progress)
        finally:
            await in_thread(dead.close)
        await _announce_solutions(context)
        return await in_thread(_solutions_cost, context)


async def _rewrite_all(context: RunContext, wanted: set[str], dead: DeadLetters, progress: Progress) -> None:
    """Until every wanted problem has its solutions or is given up."""
    messages = LostMessages(context, TREES_TOPIC, REWRITER_GROUP)
    while True:
        lag = await messages.lag()
        given_up = await in_thread(dead.read)
        stored = wanted & set(await in_thread(_stored, context, "solutions"))
        given_up -= stored
        await progress(len(stored | given_up), len(wanted), _given_up(given_up))
        if wanted <= stored | given_up:
            return
        for problem_id in sorted(await messages.among(wanted - stored - given_up, lag)):
            ready = tree_ready(context.run_id, problem_id, context.key("recipe.json"))
            key = f"{context.run_id}/{problem_id}"
            await in_thread(context.broker.publish, TREES_TOPIC, key, ready.SerializeToString())
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _announce_solutions(context: RunContext) -> None:
    """Publishes the sets of solutions whose message the topic does not hold."""
    await in_thread(context.broker.create_topic, SOLUTIONS_TOPIC, NUM_PARTITIONS)
    silent = set(await in_thread(_stored, context, "solutions")) - await on_topic(context, SOLUTIONS_TOPIC)
    for problem_id in sorted(silent):
        data = await in_thread(context.store.get, context.key("solutions", f"{problem_id}.pb"))
        ready = solutions_ready(context.run_id, solution_pb2.SolutionSet.FromString(data))
        key = f"{context.run_id}/{problem_id}"
        await in_thread(context.broker.publish, SOLUTIONS_TOPIC, key, ready.SerializeToString())


async def serve(context: RunContext, arm: str) -> None:
    """Makes the inference pool answer with checkpoint `arm`; the same weights under another run's name will do."""
    key = context.key("checkpoints", arm)
    served = (await context.policy.get_model()).checkpoint_key
    if served == key or await in_thread(_are_same, context.store, served, key):
        return
    version, gap_seconds = await context.policy.load_weights(key)
    published = run_pb2.PolicyPublished(checkpoint_key=key, policy_version=version, gap_seconds=gap_seconds)
    await context.history.tell(run_pb2.RunEvent(policy_published=published))


def weights_of(store: ObjectStore, checkpoint_key: str) -> str:
    """What tells weights apart: a hash of their manifest; the key itself while there is none."""
    try:
        return hashlib.sha256(store.get(f"{checkpoint_key}/MANIFEST.json")).hexdigest()
    except NotFoundError:
        return checkpoint_key


def _are_same(store: ObjectStore, served: str, wanted: str) -> bool:
    """A service may have begun with a folder of its own, which is no key of the store."""
    return served.startswith("runs/") and weights_of(store, served) == weights_of(store, wanted)


def _given_up(problem_ids: set[str]) -> str:
    return _named("given up", sorted(problem_ids))


def _named(outcome: str, problem_ids: Sequence[str]) -> str:
    """What became of problems that have no tree; "" where there are none."""
    return f"{outcome}: {', '.join(problem_ids[:5])} ({len(problem_ids)})" if problem_ids else ""


def _stored(context: RunContext, folder: str) -> list[str]:
    prefix = context.key(folder, "")
    return [key.removeprefix(prefix).removesuffix(".pb") for key in context.store.list(prefix) if key.endswith(".pb")]


def _solutions_cost(context: RunContext) -> Cost:
    total = Cost()
    for problem_id in _stored(context, "solutions"):
        artifact = solution_pb2.SolutionSet.FromString(context.store.get(context.key("solutions", f"{problem_id}.pb")))
        total.add(cost_from_proto(artifact.provenance.cost))
    return total
