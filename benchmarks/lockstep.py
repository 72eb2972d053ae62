"""The search service's driver against the ways published systems ask: lock-step batches, and one tree at a time.

    search-lockstep            many trees of the demo's task: the engine's batch is full in both arms
    search-lockstep-few        a few of them: a round of single calls leaves the batch half empty
    search-lockstep-smollm2    SmolLM2-135M on word problems, whose answers differ in length
    search-one-by-one          trees, and their calls, one after the other

All arms search the same problems on the same served model with the same seeds and the same budget: iterations where
ours keeps one call of a tree at the engine (both arms then grow the same trees), model calls where it keeps several.
Figures are trees per minute. The lock-step arm is what a batched search does that must hold all trees at the same
point: each round gathers the next call of every unfinished tree, sends them at once, and goes on when the last one is
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bench import Arms, Bench, Direction
from benchmarks.inference_process import ROOT, Inference, running_inference, write_settings
from benchmarks.search_requests import WORD_FILE
from retrograde.analysis.statistics import mean_over_problems
from retrograde.core.problem import Grade, Problem, Provenance
from retrograde.core.search import Call, Reply, Search
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.tasks.countdown import TASK as COUNTDOWN
from retrograde.tasks.task import Task
from retrograde.tasks.word_problems import TASK as WORD_PROBLEMS
from retrograde.wire.clients import InferenceClient
from services.search.driver import Driver, NoLog, call_seed
from tools.smollm2 import ensure_model

Grow = Callable[[InferenceClient, Sequence[Search], Task], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Workload:
    """What is searched: `num_trees` new problems for each pair."""

    task: Task
    options: Mapping[str, object]
    settings: SearchSettings
    checkpoint: Callable[[], Path]
    num_trees: int
    in_flight: int = 1

    def problems(self, repetition: int) -> Sequence[Problem]:
        """Other ones for each repetition, as far as there are."""
        drawn = self.task.problems(self.options, "search", repetition)
        first = repetition * self.num_trees % (len(drawn) - self.num_trees)
        return drawn[first : first + self.num_trees]


MANY = Workload(
    COUNTDOWN,
    {"num_numbers": 3, "count": 600, "max_number": 15, "target": [10, 60]},
    SearchSettings(
        num_iterations=8, num_actions=8, num_rollouts=8, max_depth=4, max_step_tokens=24, max_rollout_tokens=96
    ),
    lambda: ROOT / "models/countdown-base",
    num_trees=48,
)
FEW = replace(
    MANY,
    settings=MANY.settings.model_copy(update={"num_iterations": 64, "max_calls": 12}),
    num_trees=6,
    in_flight=8,
)
ONE_BY_ONE = replace(MANY, num_trees=16)
WORDS = Workload(
    WORD_PROBLEMS,
    {"file": str(WORD_FILE)},
    SearchSettings(
        num_iterations=64,
        max_calls=6,
        num_actions=4,
        num_rollouts=4,
        max_depth=6,
        temperature=0.8,
        max_step_tokens=40,
        max_rollout_tokens=64,
    ),
    ensure_model,
    num_trees=8,
    in_flight=4,
)


class TaskVerifier:
    """Grades where it is asked: the arms differ in how they ask the model alone."""

    def __init__(self, task: Task) -> None:
        self._task = task

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """One grade per (problem, text)."""
        return [self._task.grade(problem, text) for problem, text in items]


async def drive(client: InferenceClient, searches: Sequence[Search], task: Task) -> None:
    """The service's driver, all trees at once."""
    driver = Driver(client, TaskVerifier(task))

    async def one(search: Search) -> None:
        async for _ in driver.run(search, NoLog()):
            pass

    await asyncio.gather(*map(one, searches))


async def lock_step(client: InferenceClient, searches: Sequence[Search], task: Task) -> None:
    """Rounds of one call per unfinished tree."""
    while calls := [(search, call) for search in searches if (call := search.next_call()) is not None]:
        replies = await asyncio.gather(*(ask(client, search, call, task) for search, call in calls))
        for (search, call), reply in zip(calls, replies, strict=True):
            search.feed(call, reply)


async def one_by_one(client: InferenceClient, searches: Sequence[Search], task: Task) -> None:
    """Trees, and their calls, one after the other."""
    for search in searches:
        while (call := search.next_call()) is not None:
            search.feed(call, await ask(client, search, call, task))


async def ask(client: InferenceClient, search: Search, call: Call, task: Task) -> Reply:
    """The answer to one call, graded."""
    seed = call_seed(search.tree.provenance.seed, search.tree.problem.id, call.index)
    generation = await client.generate(search.prompt(call), search.sampling(call, seed))
    texts = search.to_grade(call, generation.completions)
    return Reply(generation.completions, {at: task.grade(search.tree.problem, text) for at, text in texts.items()})


class _Growing:
    """Both arms over the same problems, new ones for each pair."""

    def __init__(self, inference: Inference, against: Grow, work: Workload) -> None:
        self._inference = inference
        self._against = against
        self._work = work
        self._ours_settings = work.settings.model_copy(update={"max_in_flight": work.in_flight})
        self._problems: Sequence[Problem] = ()
        self._solved: dict[str, list[float]] = {"ours": [], "against": []}
        self._tokens: dict[str, int] = {"ours": 0, "against": 0}

    def prepare(self, repetition: int) -> None:
        """New problems."""
        self._problems = self._work.problems(repetition)

    def ours(self) -> float:
        """Trees per minute of the driver."""
        return self._grow("ours", drive, self._ours_settings)

    def against(self) -> float:
        """Trees per minute of the other way."""
        return self._grow("against", self._against, self._work.settings)

    def _grow(self, arm: str, grow: Grow, settings: SearchSettings) -> float:
        task = self._work.task
        trees = [SearchTree(problem, provenance=Provenance(seed=7)) for problem in self._problems]
        searches = [make_search(tree, task, settings) for tree in trees]
        seconds = self._inference.run(functools.partial(_timed, grow, searches, task))
        self._solved[arm] += [float(search.num_correct > 0) for search in searches]
        self._tokens[arm] += sum(search.spent.generated_tokens for search in searches)
        return 60 * len(searches) / seconds

    def note(self) -> str:
        """What both arms reached, and for how much."""
        told = "; ".join(f"{arm} {self._reached(arm)}" for arm in self._solved)
        return f"{self._work.num_trees} trees, ours with {self._work.in_flight} in flight; {told}"

    def _reached(self, arm: str) -> str:
        solved = mean_over_problems(self._solved[arm])
        tokens = self._tokens[arm] / len(self._solved[arm])
        interval = f"[{100 * solved.low:.1f}, {100 * solved.high:.1f}]"
        return f"{100 * solved.value:.1f} % solved {interval}, {tokens:.0f} tokens a tree"


async def _timed(grow: Grow, searches: Sequence[Search], task: Task, client: InferenceClient) -> float:
    """Wall seconds."""
    began = time.perf_counter()
    await grow(client, searches, task)
    return time.perf_counter() - began


@contextlib.contextmanager
def _arms(against: Grow, work: Workload) -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"checkpoint": str(work.checkpoint()), "store": f"file://{folder}/store"}
        with running_inference(write_settings(Path(folder), settings)) as inference:
            growing = _Growing(inference, against, work)
            yield Arms(growing.ours, growing.against, growing.prepare, growing.note)


def _bench(name: str, against: Grow, work: Workload) -> Bench:
    return Bench(name, "trees/min", 2.5, Direction.UP, functools.partial(_arms, against, work))


BENCHES = (
    _bench("search-lockstep", lock_step, MANY),
    _bench("search-lockstep-few", lock_step, FEW),
    _bench("search-lockstep-smollm2", lock_step, WORDS),
    _bench("search-one-by-one", one_by_one, ONE_BY_ONE),
)
