"""A scripted policy that plays Countdown, a verifier that asks the task, and a run with both in a store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.recipe import recipe as recipes
from retrograde.recipe.recipe import Problems, ProblemSource, Recipe
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.countdown import after, moves, read_statement, step_text
from retrograde.tasks.task import load_task
from retrograde.v1 import messages_pb2, tree_pb2
from retrograde.wire.convert import problem_to_proto, tree_from_proto
from services.search.driver import Driver, TreePolicy
from services.search.settings import SearchServiceSettings
from services.search.tree_log import TreeLog
from services.search.worker import PROBLEMS_TOPIC, SearchWorker

SETTINGS = SearchServiceSettings(inference="127.0.0.1:1", verifier="127.0.0.1:2", max_trees=8, hand_back_seconds=0.05)
RECIPE = Recipe(
    name="small",
    seed=7,
    task="countdown",
    policy=recipes.Policy(checkpoint="/nowhere"),
    problems=Problems(search=ProblemSource(), evaluate=ProblemSource()),
    search=SearchSettings(num_iterations=6, num_actions=3, num_rollouts=2),
)
COUNTDOWN = load_task("countdown")


def problems(count: int) -> list[Problem]:
    return COUNTDOWN.problems({"num_numbers": 3, "count": count}, "search", seed=1)


class ScriptedPolicy:
    """Legal steps drawn by the call's seed; keeps those answered; blocks after `blocks_at` calls until `released`."""

    def __init__(self, blocks_at: int | None = None) -> None:
        self.seeds: list[int | None] = []
        self.pins: list[tuple[str, int]] = []  # (key, policy version) of each call
        self.num_asked = 0
        self.blocks_at = blocks_at
        self.released = asyncio.Event()

    async def generate(
        self, prompt: Prompt, sampling: Sampling, *, key: str = "", policy_version: int = 0
    ) -> Generation:
        self.num_asked += 1
        self.pins.append((key, policy_version))
        if self.blocks_at is not None and self.num_asked > self.blocks_at:
            await self.released.wait()
        await asyncio.sleep(0)
        rng = random.Random(sampling.seed)
        texts = [_walk(prompt, rng, num_steps=1 if sampling.stop else 9) for _ in range(sampling.n)]
        self.seeds.append(sampling.seed)
        completions = tuple(_completion(text, rng) for text in texts)
        return Generation(completions, policy_version=4, prompt_token_ids=np.arange(10, dtype=np.int32))


def _completion(text: str, rng: random.Random) -> Completion:
    logprobs = np.array([-rng.random(), -rng.random()], np.float32)
    return Completion(text, np.arange(len(text.split()), dtype=np.int32), logprobs, float(logprobs.sum()))


def _walk(prompt: Prompt, rng: random.Random, num_steps: int) -> str:
    """Up to `num_steps` random legal lines after what is begun."""
    state, target = read_statement(prompt.text.partition("\n")[0])
    for line in prompt.begun.splitlines():
        state = tuple(map(int, line.partition("left: ")[2].split()))
    told = ""
    while len(state) > 1 and num_steps:
        a, operator, b, result = rng.choice(list(moves(state)))
        state = after(state, a, b, result) or ()
        told += step_text(a, operator, b, result, state, target)
        num_steps -= 1
    return told


class TaskVerifier:
    """Grades at once; keeps the size of each call."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        self.sizes.append(len(items))
        return [load_task(problem.task).grade(problem, text) for problem, text in items]


class MemoryStore:
    """Objects in a dictionary; `fault` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fault: Exception | None = None
        self.num_calls = 0

    def _enter(self) -> None:
        self.num_calls += 1
        if self.fault is not None:
            raise self.fault

    def put(self, key: str, data: bytes) -> None:
        self._enter()
        self.objects[key] = data

    def get(self, key: str) -> bytes:
        self._enter()
        if key not in self.objects:
            raise NotFoundError(key)
        return self.objects[key]

    def exists(self, key: str) -> bool:
        self._enter()
        return key in self.objects

    def list(self, prefix: str) -> Iterator[str]:
        self._enter()
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        self._enter()
        self.objects.pop(key, None)

    def upload(self, prefix: str, folder: Path) -> None:
        raise NotImplementedError

    def download(self, prefix: str, folder: Path) -> None:
        raise NotImplementedError


class Run:
    """A store and a broker with the recipe of run "r" in place."""

    def __init__(self, folder: Path) -> None:
        self.store: ObjectStore = open_store(f"file://{folder}/store")
        self.broker: Broker = open_broker(f"sqlite:///{folder}/broker.db")
        self.store.put("runs/r/recipe.json", RECIPE.model_dump_json().encode())
        self.broker.create_topic(PROBLEMS_TOPIC, 4)

    def worker(self, policy: TreePolicy, settings: SearchServiceSettings = SETTINGS) -> SearchWorker:
        return SearchWorker(self.broker, self.store, Driver(policy, TaskVerifier()), settings)

    def tell(self, **search: object) -> None:
        """Changes the search settings of the run's recipe."""
        settings = RECIPE.search.model_copy(update=search)
        self.store.put("runs/r/recipe.json", RECIPE.model_copy(update={"search": settings}).model_dump_json().encode())

    def queue(self, problem: Problem) -> None:
        self.broker.publish(PROBLEMS_TOPIC, f"r/{problem.id}", queued(problem))

    def tree(self, problem: Problem) -> SearchTree:
        data = self.store.get(f"runs/r/trees/{problem.id}.pb")
        return tree_from_proto(tree_pb2.SearchTree.FromString(data))

    def log(self, problem: Problem) -> list[str]:
        return list(self.store.list(f"runs/r/tree-logs/{problem.id}/"))

    def logged(self, problem: Problem) -> list[int]:
        """Indices of the calls in the problem's log, in the order of arrival."""
        return [record.call.index for record in TreeLog(self.store, f"runs/r/tree-logs/{problem.id}/")._read()]

    def read(self, topic: str) -> list[Message]:
        """All messages of `topic`."""
        consumer = self.broker.consumer(topic, "reader")
        try:
            found: list[Message] = []
            while more := consumer.poll(0.05, 1000):
                found += more
            return found
        finally:
            consumer.close()


def queued(problem: Problem, priority: int = 0) -> bytes:
    message = messages_pb2.ProblemQueued(
        run_id="r", problem=problem_to_proto(problem), settings_key="runs/r/recipe.json", priority=priority
    )
    return message.SerializeToString()


def delivered(problem: Problem, priority: int = 0) -> Message:
    return Message(PROBLEMS_TOPIC, 0, 0, f"r/{problem.id}", queued(problem, priority))
