"""The search service's driver against the ways published systems ask: lock-step batches, and one tree at a time.

    search-lockstep     all trees together, each step waits for the slowest: one batch of expansions, one of rollouts
    search-one-by-one   the same trees one after the other

All arms grow the same trees (same problems, seeds and settings) on the same served model, to the same budget; figures
are trees per minute. The lock-step arm is what a batched search does that must hold all trees at the same point: each
round gathers the next call of every unfinished tree, sends them at once, and goes on when the last one is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Arms, Bench, Direction
from benchmarks.inference_process import ROOT, Inference, running_inference, write_settings
from retrograde.core.problem import Grade, Problem, Provenance
from retrograde.core.search import Call, Reply, Search
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.tasks.countdown import TASK
from retrograde.wire.clients import InferenceClient
from services.search.driver import Driver, NoLog, call_seed

PROBLEMS = {"num_numbers": 3, "count": 600, "max_number": 15, "target": [10, 60]}
SETTINGS = SearchSettings(
    num_iterations=8, num_actions=8, num_rollouts=8, max_depth=4, max_step_tokens=24, max_rollout_tokens=96
)
NUM_TREES = 48
NUM_TREES_ONE_BY_ONE = 16
IN_FLIGHT = 1  # as the other arms: the budget is then the same, tree by tree

Grow = Callable[[InferenceClient, Sequence[Search]], Awaitable[None]]


class TaskVerifier:
    """Grades where it is asked: the arms differ in how they ask the model alone."""

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """One grade per (problem, text)."""
        return [TASK.grade(problem, text) for problem, text in items]


async def drive(client: InferenceClient, searches: Sequence[Search]) -> None:
    """The service's driver, all trees at once."""
    driver = Driver(client, TaskVerifier())

    async def one(search: Search) -> None:
        async for _ in driver.run(search, NoLog()):
            pass

    await asyncio.gather(*map(one, searches))


async def lock_step(client: InferenceClient, searches: Sequence[Search]) -> None:
    """Rounds of one call per unfinished tree."""
    while calls := [(search, call) for search in searches if (call := search.next_call()) is not None]:
        replies = await asyncio.gather(*(ask(client, search, call) for search, call in calls))
        for (search, call), reply in zip(calls, replies, strict=True):
            search.feed(call, reply)


async def one_by_one(client: InferenceClient, searches: Sequence[Search]) -> None:
    """Trees, and their calls, one after the other."""
    for search in searches:
        while (call := search.next_call()) is not None:
            search.feed(call, await ask(client, search, call))


async def ask(client: InferenceClient, search: Search, call: Call) -> Reply:
    """The answer to one call, graded."""
    seed = call_seed(search.tree.provenance.seed, search.tree.problem.id, call.index)
    generation = await client.generate(search.prompt(call), search.sampling(call, seed))
    texts = search.to_grade(call, generation.completions)
    return Reply(generation.completions, {at: TASK.grade(search.tree.problem, text) for at, text in texts.items()})


class _Growing:
    """Both arms over the same problems, new ones for each pair."""

    def __init__(self, inference: Inference, against: Grow, num_trees: int, max_in_flight: int) -> None:
        self._inference = inference
        self._against = against
        self._num_trees = num_trees
        self._ours_settings = SETTINGS.model_copy(update={"max_in_flight": max_in_flight})
        self._problems: Sequence[Problem] = ()
        self._solved: dict[str, list[bool]] = {"ours": [], "against": []}
        self._tokens: dict[str, int] = {"ours": 0, "against": 0}

    def prepare(self, repetition: int) -> None:
        """New problems."""
        drawn = TASK.problems(PROBLEMS, "search", repetition)
        self._problems = drawn[: self._num_trees]

    def ours(self) -> float:
        """Trees per minute of the driver."""
        return self._grow("ours", drive, self._ours_settings)

    def against(self) -> float:
        """Trees per minute of the other way."""
        return self._grow("against", self._against, SETTINGS)

    def _grow(self, arm: str, grow: Grow, settings: SearchSettings) -> float:
        trees = [SearchTree(problem, provenance=Provenance(seed=7)) for problem in self._problems]
        searches = [make_search(tree, TASK, settings) for tree in trees]
        began = time.perf_counter()
        self._inference.run(functools.partial(_run, grow, searches))
        seconds = time.perf_counter() - began
        self._solved[arm] += [search.num_correct > 0 for search in searches]
        self._tokens[arm] += sum(search.spent.generated_tokens for search in searches)
        return 60 * len(searches) / seconds

    def note(self) -> str:
        """What both arms reached, and for how much."""
        shares = {arm: f"{100 * sum(solved) / len(solved):.1f} % solved" for arm, solved in self._solved.items()}
        spent = {arm: f"{self._tokens[arm] / len(solved):.0f} tokens a tree" for arm, solved in self._solved.items()}
        told = "; ".join(f"{arm} {shares[arm]}, {spent[arm]}" for arm in shares)
        return f"{self._num_trees} trees; {told}"


async def _run(grow: Grow, searches: Sequence[Search], client: InferenceClient) -> None:
    await grow(client, searches)


@contextlib.contextmanager
def _arms(against: Grow, num_trees: int) -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"checkpoint": str(ROOT / "models/countdown-base"), "store": f"file://{folder}/store"}
        with running_inference(write_settings(Path(folder), settings)) as inference:
            growing = _Growing(inference, against, num_trees, IN_FLIGHT)
            yield Arms(growing.ours, growing.against, growing.prepare, growing.note)


BENCHES = (
    Bench("search-lockstep", "trees/min", 2.5, Direction.UP, functools.partial(_arms, lock_step, NUM_TREES)),
    Bench(
        "search-one-by-one", "trees/min", 2.5, Direction.UP, functools.partial(_arms, one_by_one, NUM_TREES_ONE_BY_ONE)
    ),
)
