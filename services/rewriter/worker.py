"""The queue worker: a tree of the topic becomes one solution set in the store.

    handle: stored already? -> else judge, linearize, tell, check -> store the set -> publish  (-> commit)

Doing a message twice leaves one set: its key is derived from run and problem, and a stored set is only published
again. On SIGTERM trees in flight may end within a grace period, then they go back to the queue.
"""

from __future__ import annotations

import asyncio
import time

from google.protobuf.message import DecodeError

from retrograde.core.tree import SearchTree
from retrograde.runtime import spans
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.draining import end_or_hand_back
from retrograde.runtime.errors import DataLossError, InvalidInputError
from retrograde.runtime.objects import ObjectStore
from retrograde.runtime.worker import consume_as_set
from retrograde.tasks.task import TaskError
from retrograde.v1 import messages_pb2, solution_pb2, tree_pb2
from retrograde.wire.announcing import solutions_ready
from retrograde.wire.convert import tree_from_proto
from retrograde.wire.convert_solution import SolutionSet, solution_set_to_proto
from retrograde.wire.recipes import Recipes
from retrograde.wire.topics import NUM_PARTITIONS, SOLUTIONS_TOPIC, TREES_TOPIC
from retrograde.wire.topics import REWRITER_GROUP as GROUP
from services.rewriter import metrics
from services.rewriter.pipeline import Pipeline
from services.rewriter.settings import RewriterSettings


class RewriterWorker:
    """Rewrites what the trees topic announces, `max_trees` at a time."""

    def __init__(self, broker: Broker, store: ObjectStore, pipeline: Pipeline, settings: RewriterSettings) -> None:
        self._broker = broker
        self._store = store
        self._pipeline = pipeline
        self._settings = settings
        self._recipes = Recipes(store)

    def prepare(self) -> None:
        """Makes the topics, before `run`. Blocks; raises UnavailableError while the broker is away."""
        for topic in (TREES_TOPIC, SOLUTIONS_TOPIC):
            self._broker.create_topic(topic, NUM_PARTITIONS)

    async def run(self, drain: asyncio.Event) -> None:
        """Consumes until `drain` is set."""
        await consume_as_set(self._broker, TREES_TOPIC, GROUP, self.handle, drain, self._settings)

    async def handle(self, message: Message, drain: asyncio.Event) -> None:
        """Leaves the solutions of one message's tree stored and published.

        Raises InvalidInputError for a message nobody can do, HandBackError when drained before the set was complete.
        """
        ready = _decode(message)
        key = f"runs/{ready.run_id}/solutions/{ready.problem_id}.pb"
        outcome = "stored_before"
        if await in_thread(self._store.exists, key):
            stored = solution_pb2.SolutionSet.FromString(await in_thread(self._store.get, key))
        else:
            with spans.work("solutions", run_id=ready.run_id, problem_id=ready.problem_id):
                made = await end_or_hand_back(self._make(ready), drain, self._settings.hand_back_seconds)
            stored = solution_set_to_proto(made)
            await in_thread(self._store.put, key, stored.SerializeToString())
            _count(made)
            outcome = "stored" if made.solutions else "empty"
        done = solutions_ready(ready.run_id, stored)
        await in_thread(self._broker.publish, SOLUTIONS_TOPIC, message.key, done.SerializeToString())
        metrics.SETS.labels(outcome=outcome).inc()

    async def _make(self, ready: messages_pb2.TreeReady) -> SolutionSet:
        started = time.monotonic()
        recipe = await self._recipes.get(ready.settings_key)
        tree = await load_tree(self._store, ready.tree_key)
        try:
            made = await self._pipeline.solutions(tree, ready.tree_key, recipe)
        except TaskError as error:
            raise InvalidInputError(f"tree {ready.tree_key}: {error}") from error
        metrics.SET_SECONDS.observe(time.monotonic() - started)
        return made


async def load_tree(store: ObjectStore, key: str) -> SearchTree:
    """The tree stored under `key`. Raises NotFoundError, and DataLossError if the object is no tree."""
    data = await in_thread(store.get, key)
    try:
        return tree_from_proto(tree_pb2.SearchTree.FromString(data))
    except DecodeError as error:
        raise DataLossError(f"{key}: not a SearchTree: {error}") from error


def _decode(message: Message) -> messages_pb2.TreeReady:
    try:
        ready = messages_pb2.TreeReady.FromString(message.value)
    except DecodeError as error:
        raise InvalidInputError(f"message: not a TreeReady: {error}") from error
    for field in ("run_id", "problem_id", "tree_key", "settings_key"):
        if not getattr(ready, field):
            raise InvalidInputError(f"message.{field}: empty; name the run, the problem, its tree and the recipe")
    return ready


def _count(made: SolutionSet) -> None:
    for solution in made.solutions:
        metrics.SOLUTIONS.labels(kind=solution.kind.value, rewriter=solution.rewriter.value).inc()
    for reason, count in made.rejected.items():
        metrics.REJECTED.labels(reason=reason).inc(count)
