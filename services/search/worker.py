"""The queue worker: a problem of the topic becomes one tree in the store.

    handle: stored already? -> else search, from its log if it has one -> is the tree still mine? -> store tree
            -> publish -> drop log  (-> commit)

Doing a message twice leaves one tree: its key is derived from run and problem, and a stored tree is only published
again. On SIGTERM the calls in flight may end, then a tree goes back to the queue: its log stays, and another worker
continues it. A worker that was stalled while another took its tree over finds a newer epoch in the log: it stores and
publishes nothing, and stands aside while the other one makes progress. Messages of a cancelled run are passed over;
whoever goes on with it publishes them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator
from weakref import WeakValueDictionary

from google.protobuf.message import DecodeError

import retrograde
from retrograde.core.problem import Problem, Provenance
from retrograde.core.search import Search, SearchError
from retrograde.core.searches import make_search
from retrograde.core.tree import SearchTree
from retrograde.recipe.recipe import Recipe
from retrograde.runtime import spans
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.draining import end_or_hand_back
from retrograde.runtime.errors import FencedError, InvalidInputError, OtherPolicyError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.runtime.worker import HandBackError, consume_as_set
from retrograde.tasks.task import TaskError, load_task
from retrograde.v1 import messages_pb2
from retrograde.wire.announcing import tree_ready
from retrograde.wire.convert import problem_from_proto, tree_to_proto
from retrograde.wire.recipes import Recipes
from retrograde.wire.records import Record
from retrograde.wire.topics import NUM_PARTITIONS, PROBLEMS_TOPIC, TREES_TOPIC, cancelled_key
from retrograde.wire.topics import SEARCH_GROUP as GROUP
from services.search import metrics
from services.search.driver import Driver
from services.search.patience import until_available
from services.search.settings import SearchServiceSettings
from services.search.tree_log import TreeLog

_log = get_logger(__name__)


class SearchWorker:
    """Searches what the problems topic asks for, `max_trees` at a time."""

    def __init__(self, broker: Broker, store: ObjectStore, driver: Driver, settings: SearchServiceSettings) -> None:
        self._broker = broker
        self._store = store
        self._driver = driver
        self._settings = settings
        self._recipes = Recipes(store)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def prepare(self) -> None:
        """Makes the topics, before `run`. Blocks; raises UnavailableError while the broker is away."""
        for topic in (PROBLEMS_TOPIC, TREES_TOPIC):
            self._broker.create_topic(topic, NUM_PARTITIONS)

    async def run(self, drain: asyncio.Event) -> None:
        """Consumes until `drain` is set."""
        await consume_as_set(self._broker, PROBLEMS_TOPIC, GROUP, self.handle, drain, self._settings)

    async def handle(self, message: Message, drain: asyncio.Event) -> None:
        """Leaves the tree of one message stored and published; of a run that is cancelled, as it is.

        Raises InvalidInputError for a message nobody can do, HandBackError when drained before the tree was complete.
        """
        queued = _decode(message)
        problem = problem_from_proto(queued.problem)
        prefix = f"runs/{queued.run_id}"
        tree_key = f"{prefix}/trees/{problem.id}.pb"
        log = TreeLog(self._store, f"{prefix}/tree-logs/{problem.id}/")
        async with self._alone(tree_key):
            outcome = "stored_before"
            if not await self._exists(tree_key):
                if await self._exists(cancelled_key(queued.run_id)):
                    metrics.TREES.labels(outcome="cancelled").inc()
                    return
                recipe = await self._recipes.get(queued.settings_key)
                with _in_flight(), spans.work("tree", run_id=queued.run_id, problem_id=problem.id):
                    outcome = await self._make(queued, problem, recipe, tree_key, log, drain)
        ready = tree_ready(queued.run_id, problem.id, queued.settings_key)
        await in_thread(self._broker.publish, TREES_TOPIC, message.key, ready.SerializeToString())
        await log.delete()
        metrics.TREES.labels(outcome=outcome).inc()

    def _alone(self, tree_key: str) -> asyncio.Lock:
        """Held by the one handler at work on the tree: a partition lost and found brings its messages again."""
        return self._locks.setdefault(tree_key, asyncio.Lock())

    async def _make(
        self,
        queued: messages_pb2.ProblemQueued,
        problem: Problem,
        recipe: Recipe,
        tree_key: str,
        log: TreeLog,
        drain: asyncio.Event,
    ) -> str:
        """Leaves the tree stored and says what became of it. Raises HandBackError if another worker is at it."""
        try:
            await log.open()
            if await self._exists(tree_key):  # whoever stored it since may have deleted the log before it was opened
                return "stored_before"
            await log.check_now_and_then()  # that look may have taken long
            return await self._keep(tree_key, await self._search(queued, problem, recipe, log, drain), log)
        except InvalidInputError:
            await log.delete()  # nobody will go on with it
            raise
        except OtherPolicyError as error:
            _log.warning("tree begun again", tree_key=tree_key, reason=str(error))
            with contextlib.suppress(FencedError):  # then the log is another worker's
                await log.check()
                await log.delete()
            raise HandBackError from error
        except FencedError as error:
            metrics.FENCED.inc()
            _log.warning("tree given up", tree_key=tree_key, reason=str(error))
            await self._stand_aside(tree_key, log, drain)
            raise HandBackError from error

    async def _search(
        self, queued: messages_pb2.ProblemQueued, problem: Problem, recipe: Recipe, log: TreeLog, drain: asyncio.Event
    ) -> SearchTree:
        provenance = Provenance(queued.run_id, recipe.hash, retrograde.__version__, seed=recipe.seed)
        tree = SearchTree(problem, provenance=provenance)
        try:
            search = make_search(tree, load_task(problem.task), recipe.search)
            work = _exhaust(search, self._driver.run(search, log, recipe.search.feed_order, drain, queued.priority))
            await end_or_hand_back(work, drain, self._settings.hand_back_seconds)
        except (TaskError, SearchError) as error:
            raise InvalidInputError(f"problem {problem.id}: {error}") from error
        metrics.ITERATIONS.inc(tree.num_iterations)
        return tree

    async def _keep(self, tree_key: str, tree: SearchTree, log: TreeLog) -> str:
        """Stores the tree unless another worker was first: what was made from a stored tree must stay true."""
        if await self._exists(tree_key):
            return "stored_before"
        await log.check()
        data = tree_to_proto(tree).SerializeToString()
        await until_available(lambda: self._store.put(tree_key, data), tree_key)
        solved = any(node.is_correct for node in tree.nodes)
        cost = tree.provenance.cost
        _log.debug(
            "tree stored", tree_key=tree_key, solved=solved, num_nodes=len(tree.nodes), seconds=cost.wall_seconds
        )
        return "solved" if solved else "unsolved"

    async def _stand_aside(self, tree_key: str, log: TreeLog, drain: asyncio.Event) -> None:
        """Waits until the tree is stored, its log stands still for `takeover_seconds`, or this process drains."""
        seen = None
        while not drain.is_set() and not await self._exists(tree_key):
            newest = await log.newest()
            if newest == seen:
                return
            seen = newest
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drain.wait(), self._settings.takeover_seconds)

    async def _exists(self, key: str) -> bool:
        return await until_available(lambda: self._store.exists(key), key)


async def _exhaust(search: Search, run: AsyncGenerator[Record]) -> None:
    """Runs `search` to its end, or hands it back once its calls in flight are logged."""
    async with contextlib.aclosing(run):
        async for _ in run:
            pass
    if not search.done:
        raise HandBackError


def _decode(message: Message) -> messages_pb2.ProblemQueued:
    try:
        queued = messages_pb2.ProblemQueued.FromString(message.value)
    except DecodeError as error:
        raise InvalidInputError(f"message: not a ProblemQueued: {error}") from error
    for field in ("run_id", "settings_key"):
        if not getattr(queued, field):
            raise InvalidInputError(f"message.{field}: empty; name the run and the object that holds its recipe")
    return queued


@contextlib.contextmanager
def _in_flight() -> Iterator[None]:
    started = time.monotonic()
    with metrics.TREES_IN_FLIGHT.track_inprogress():
        yield
    metrics.TREE_SECONDS.observe(time.monotonic() - started)
