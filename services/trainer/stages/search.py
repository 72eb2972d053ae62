"""Problems to trees to solutions: put on the topic, then watched until each is there.

The work itself is done by the search and rewriter services; this stage publishes what is missing, as far as the run's
budget goes, and reads what is stored. A problem that ended in a dead-letter topic counts as done; its name is in the
stage's detail, as are the names of those that the budget left out.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from google.protobuf.message import Message as ProtoMessage

from retrograde.core.problem import Cost, Problem
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Consumer
from retrograde.v1 import messages_pb2, solution_pb2
from retrograde.wire.convert import cost_from_proto, problem_to_proto
from services.trainer.stages.grown_trees import GrownTrees
from services.trainer.stages.run_budget import num_affordable
from services.trainer.stages.stage import Progress, RunContext, problems_from_bytes

PROBLEMS_TOPIC = "retrograde.problems.v1"
TREES_TOPIC = "retrograde.trees.v1"
NUM_PARTITIONS = 16
_LOOK_EVERY_SECONDS = 1.0


class DeadLetters:
    """Problems of one run that were given up, read from a topic's dead-letter topic from its beginning."""

    def __init__(self, context: RunContext, topic: str, message_type: type[ProtoMessage]) -> None:
        self._run_id = context.run_id
        self._type = message_type
        group = f"trainer-{context.run_id}-{time.time_ns()}"
        self._consumer: Consumer = context.broker.consumer(f"{topic}.dlq", group)
        self.problem_ids: set[str] = set()

    def read(self) -> None:
        """Takes in what has come since."""
        for message in self._consumer.poll(0.0, 1000):
            dead = self._type.FromString(message.value)
            if getattr(dead, "run_id") == self._run_id:  # noqa: B009  both messages have it, their base does not
                self.problem_ids.add(_problem_id(dead))

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()


def _problem_id(message: ProtoMessage) -> str:
    if isinstance(message, messages_pb2.ProblemQueued):
        return message.problem.id
    return str(getattr(message, "problem_id"))  # noqa: B009


class ProblemQueue:
    """The problems of a run, put on the topic from the first on; how many is stored before any of them is.

    A controller that died between the two puts those few on the topic again, which is one tree all the same.
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
        await self._publish(known.get("num_published", self.num_queued))

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

    async def _publish(self, first: int) -> None:
        context = self._context
        for problem in self.problems[first : self.num_queued]:
            message = messages_pb2.ProblemQueued(
                run_id=context.run_id,
                problem=problem_to_proto(problem),
                settings_key=context.key("recipe.json"),
                priority=context.recipe.priority,
            )
            key = f"{context.run_id}/{problem.id}"
            await in_thread(context.broker.publish, PROBLEMS_TOPIC, key, message.SerializeToString())
        if first < self.num_queued:
            await self._keep(num_published=self.num_queued)

    async def _keep(self, num_published: int) -> None:
        known = {"num_queued": self.num_queued, "num_published": num_published}
        await in_thread(self._context.store.put, self._key, json.dumps(known).encode())


class SearchStage:
    """Waits for `trees/<problem>.pb` of every problem that the run's budget allows."""

    name = "search"
    unit = "trees"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await _serve_base(context)
        data = await in_thread(context.store.get, context.key("problems/search.jsonl"))
        problems = ProblemQueue(context, problems_from_bytes(data))
        await problems.open()
        dead = await in_thread(DeadLetters, context, PROBLEMS_TOPIC, messages_pb2.ProblemQueued)
        try:
            return await _search_all(context, problems, dead, progress)
        finally:
            await in_thread(dead.close)


async def _search_all(context: RunContext, problems: ProblemQueue, dead: DeadLetters, progress: Progress) -> Cost:
    """Until every queued problem has its tree or is given up, and no further one may be queued."""
    trees, recipe, total = GrownTrees(context.store, context.key("trees", "")), context.recipe, len(problems.problems)
    while True:
        await in_thread(dead.read)
        await in_thread(trees.read)
        num_unfinished, num_wanted = problems.num_queued - len(trees.ids), total - problems.num_queued
        room = num_affordable(recipe.run_budget, recipe.search, trees.cost, num_unfinished, num_wanted)
        await problems.grow(room)
        given_up = dead.problem_ids - trees.ids
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

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        wanted = set(await in_thread(_stored, context, "trees"))
        await _wait(context, "solutions", TREES_TOPIC, messages_pb2.TreeReady, wanted, progress)
        return await in_thread(_solutions_cost, context)


async def _serve_base(context: RunContext) -> None:
    await serve(context, "base")


async def serve(context: RunContext, arm: str) -> None:
    """Makes the inference pool answer with checkpoint `arm`."""
    key = context.key("checkpoints", arm)
    if (await context.policy.get_model()).checkpoint_key != key:
        await context.policy.load_weights(key)


async def _wait(
    context: RunContext,
    folder: str,
    topic: str,
    message_type: type[ProtoMessage],
    wanted: set[str],
    progress: Progress,
) -> None:
    """Until every wanted problem has its object in `folder` or lies in the dead-letter topic."""
    await in_thread(context.broker.create_topic, topic, NUM_PARTITIONS)
    dead = await in_thread(DeadLetters, context, topic, message_type)
    try:
        while True:
            await in_thread(dead.read)
            stored = wanted & set(await in_thread(_stored, context, folder))
            given_up = dead.problem_ids - stored
            await progress(len(stored | given_up), len(wanted), _given_up(given_up))
            if wanted <= stored | given_up:
                return
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
    finally:
        await in_thread(dead.close)


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
