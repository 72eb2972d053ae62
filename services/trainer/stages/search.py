"""Problems to trees to solutions: put on the topic, then watched until each is there.

The work itself is done by the search and rewriter services; this stage publishes what is missing and counts objects.
A problem that ended in a dead-letter topic counts as done, and its name is in the stage's detail.
"""

from __future__ import annotations

import asyncio
import time

from google.protobuf.message import Message as ProtoMessage

from retrograde.core.problem import Cost, Problem
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Consumer
from retrograde.v1 import messages_pb2, solution_pb2, tree_pb2
from retrograde.wire.convert import cost_from_proto, problem_to_proto
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


class SearchStage:
    """Waits for `trees/<problem>.pb` of every problem."""

    name = "search"
    unit = "trees"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await _serve_base(context)
        data = await in_thread(context.store.get, context.key("problems/search.jsonl"))
        problems = problems_from_bytes(data)
        await self._publish(context, problems, progress)
        wanted = {problem.id for problem in problems}
        await _wait(context, "trees", PROBLEMS_TOPIC, messages_pb2.ProblemQueued, wanted, progress)
        return await in_thread(_sum_costs, context, "trees", tree_pb2.SearchTree)

    async def _publish(self, context: RunContext, problems: list[Problem], progress: Progress) -> None:
        """Once per run: the broker redelivers what is not done, so a resumed run publishes nothing again."""
        marker = context.key("published.json")
        if await in_thread(context.store.exists, marker):
            return
        await progress(0, len(problems), "publishing problems")
        await in_thread(context.broker.create_topic, PROBLEMS_TOPIC, NUM_PARTITIONS)
        for problem in problems:
            message = messages_pb2.ProblemQueued(
                run_id=context.run_id, problem=problem_to_proto(problem), settings_key=context.key("recipe.json")
            )
            key = f"{context.run_id}/{problem.id}"
            await in_thread(context.broker.publish, PROBLEMS_TOPIC, key, message.SerializeToString())
        await in_thread(context.store.put, marker, b"{}")


class RewriteStage:
    """Waits for `solutions/<problem>.pb` of every tree."""

    name = "rewrite"
    unit = "trees"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        wanted = set(await in_thread(_stored, context, "trees"))
        await _wait(context, "solutions", TREES_TOPIC, messages_pb2.TreeReady, wanted, progress)
        return await in_thread(_sum_costs, context, "solutions", solution_pb2.SolutionSet)


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
    return f"given up: {', '.join(sorted(problem_ids)[:5])} ({len(problem_ids)})" if problem_ids else ""


def _stored(context: RunContext, folder: str) -> list[str]:
    prefix = context.key(folder, "")
    return [key.removeprefix(prefix).removesuffix(".pb") for key in context.store.list(prefix) if key.endswith(".pb")]


def _sum_costs(
    context: RunContext, folder: str, message_type: type[tree_pb2.SearchTree | solution_pb2.SolutionSet]
) -> Cost:
    total = Cost()
    for problem_id in _stored(context, folder):
        artifact = message_type.FromString(context.store.get(context.key(folder, f"{problem_id}.pb")))
        total.add(cost_from_proto(artifact.provenance.cost))
    return total
