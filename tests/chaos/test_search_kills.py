"""Search workers killed with -9, or stopped and woken, over a batch of trees, on the real broker and store.

    every tree is finished and is the tree of an undisturbed search
    no call is asked again but those that a killed worker had asked and not yet made durable

A worker that joins takes partitions, and the trees in them, from one that is alive; what that one had in flight is
asked again too and counted apart: that is the price of sharing the work anew, not of the kill. 6 kills, or
RETROGRADE_CHAOS_KILLS; `pytest -s` shows the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from retrograde.core.problem import Problem, Provenance
from retrograde.core.searches import make_search
from retrograde.core.tree import SearchTree
from services.search.driver import Driver, NoLog, call_seed
from services.search.worker import PROBLEMS_TOPIC
from tests.unit.search.search_fakes import COUNTDOWN, RECIPE, Run, ScriptedPolicy, TaskVerifier

KILLS = int(os.environ.get("RETROGRADE_CHAOS_KILLS", "6"))
NUM_WORKERS, MAX_TREES = 2, 8
TREES_PER_KILL = 8
CALL_SECONDS = 0.15
PATIENCE_SECONDS = 240.0
MOST_CALLS = 200
KILLED = -1
SETTLE_SECONDS = 0.1  # for a worker about to take over: shorter than a call, so that no answer of its own is counted
STALLS = 3
STALL_SECONDS = 4.0  # more than twice the session of a member
SEARCH = {"num_iterations": 12, "num_actions": 3, "num_rollouts": 2, "max_in_flight": 4}
ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600 + 20 * KILLS)]


@dataclass
class Worker:
    """A search process, and the number of the address it asks at."""

    number: int
    process: subprocess.Popen[bytes]


@dataclass
class Siege:
    """A batch of trees, the engine, the workers, and what was lost at each kill."""

    run: Run
    folder: Path
    problems: list[Problem]
    addresses: list[str]
    workers: list[Worker] = field(default_factory=list)
    lost: dict[int, set[int]] = field(default_factory=dict)  # seeds, by the worker that was killed
    num_started: int = 0

    def __post_init__(self) -> None:
        self.call_of = {
            call_seed(RECIPE.seed, problem.id, index): (problem, index)
            for problem in self.problems
            for index in range(MOST_CALLS)
        }

    def start(self) -> None:
        """One more worker."""
        number = self.num_started
        self.num_started += 1
        settings = {
            "broker": f"sqlite://{self.folder}/broker.db?session_seconds=1.5",
            "store": f"file://{self.folder}/store",
            "inference": self.addresses[number],
            "verifier": self.addresses[number],
            "max_trees": MAX_TREES,
            "takeover_seconds": 2.0,
        }
        config = self.folder / f"search-{number}.yaml"
        config.write_text(yaml.safe_dump(settings))
        with (self.folder / "search.log").open("ab") as said:
            command = [sys.executable, "-m", "services.search", "--config", str(config)]
            self.workers.append(Worker(number, subprocess.Popen(command, cwd=ROOT, stderr=said)))

    def kill(self, victim: Worker) -> None:
        """Kills it, and notes which of its questions had no durable answer then."""
        victim.process.kill()
        victim.process.wait()
        with (self.folder / "asked").open("a") as told:
            told.write(f"{victim.number} {KILLED}\n")
        self.workers.remove(victim)
        time.sleep(SETTLE_SECONDS)
        mine = {seed for number, seed in self.asked() if number == victim.number}
        by_problem = defaultdict(set)
        for seed in mine:
            problem, index = self.call_of[seed]
            by_problem[problem].add((index, seed))
        self.lost[victim.number] = {
            seed
            for problem, calls in by_problem.items()
            for durable in [self._durable(problem)]
            for index, seed in calls
            if durable is not None and index not in durable
        }

    def _durable(self, problem: Problem) -> set[int] | None:
        """Calls in the problem's log; None once its tree is stored: then all are."""
        logged = set(self.run.logged(problem))
        return None if self.run.store.exists(f"runs/r/trees/{problem.id}.pb") else logged

    def story(self) -> list[tuple[int, int]]:
        """(worker, seed) of each question, in the order in which they came; KILLED where the worker was."""
        lines = (self.folder / "asked").read_text().splitlines()
        return [(int(number), int(seed)) for number, seed in map(str.split, lines)]

    def asked(self) -> list[tuple[int, int]]:
        """The questions alone."""
        return [each for each in self.story() if each[1] != KILLED]

    def num_logs(self) -> int:
        """Trees that have a log; a put that was on its way while the log was deleted brings a piece of it back."""
        return len({key.split("/")[3] for key in self.run.store.list("runs/r/tree-logs/")})

    def num_stored(self) -> int:
        return sum(1 for _ in self.run.store.list("runs/r/trees/"))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, f"{what}; {self.num_stored()} of {len(self.problems)} trees"
            assert all(worker.process.poll() is None for worker in self.workers), "a worker ended by itself"
            time.sleep(0.1)

    def repeated(self) -> tuple[int, int]:
        """Questions asked again that were durable at the kill of who asked before; and those taken from the living.

        What reaches the engine of a worker's questions after its kill was not durable at it.
        """
        last_asked: dict[int, int] = {}
        killed: set[int] = set()
        kept = moved = 0
        for number, seed in self.story():
            if seed == KILLED:
                killed.add(number)
                continue
            if number in killed:
                self.lost[number].add(seed)
            before = last_asked.get(seed)
            last_asked[seed] = number
            kept += before in killed and seed not in self.lost[before]
            moved += before is not None and before not in killed
        return kept, moved

    def begin(self) -> None:
        """Queues the batch and starts the workers."""
        for problem in self.problems:
            self.run.queue(problem)
        for _ in range(NUM_WORKERS):
            self.start()

    def finish(self) -> None:
        """Waits until all trees are stored and all messages committed."""
        self.until(lambda: self.num_stored() == len(self.problems), "all trees")
        self.until(lambda: self.run.broker.lag(PROBLEMS_TOPIC, "search") == 0, "all messages committed")

    def num_different(self) -> int:
        """Trees that are not, node for node and token for token, those of an undisturbed search."""
        return sum(not same(self.run.tree(problem), undisturbed(problem)) for problem in self.problems)


def same(one: SearchTree, other: SearchTree) -> bool:
    """Whether their nodes, iterations and tokens are."""
    costs = [(tree.provenance.cost.generated_tokens, tree.provenance.cost.prompt_tokens) for tree in (one, other)]
    return one.nodes == other.nodes and one.num_iterations == other.num_iterations and costs[0] == costs[1]


@contextlib.contextmanager
def engine(folder: Path, num_addresses: int) -> Iterator[list[str]]:
    """The scripted engine's addresses."""
    arguments = [str(num_addresses), str(CALL_SECONDS), str(folder / "asked")]
    command = [sys.executable, "-m", "tests.chaos.scripted_engine", *arguments]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}:{ROOT / 'tests/unit/search'}"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield [process.stdout.readline().strip() for _ in range(num_addresses)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def siege(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Siege]:
    """Of as many trees as its parameter's blows need."""
    count = TREES_PER_KILL * (request.param + 1)
    problems = COUNTDOWN.problems({"num_numbers": 4, "count": count}, "search", seed=2)
    run = Run(tmp_path)
    run.tell(**SEARCH)
    with engine(tmp_path, request.param + NUM_WORKERS) as addresses:
        siege = Siege(run, tmp_path, problems, addresses)
        try:
            yield siege
        finally:
            for worker in siege.workers:
                worker.process.kill()
                worker.process.wait()
            run.broker.close()


def undisturbed(problem: Problem) -> SearchTree:
    """The tree of a search in this process."""
    tree = SearchTree(problem, provenance=Provenance(seed=RECIPE.seed))
    search = make_search(tree, COUNTDOWN, RECIPE.search.model_copy(update=SEARCH))

    async def run() -> None:
        async for _ in Driver(ScriptedPolicy(), TaskVerifier()).run(search, NoLog()):
            pass

    asyncio.run(run())
    return tree


@pytest.mark.parametrize("siege", [KILLS], indirect=True, ids=str)
def test_no_tree_and_no_answer_is_lost(siege: Siege) -> None:
    """Every tree is there, node for node and token for token; nothing durable at a kill is asked again."""
    rng = random.Random(20251121)
    siege.begin()
    for kill in range(KILLS):
        siege.until(lambda kill=kill: siege.num_stored() > TREES_PER_KILL * kill, f"kill {kill}")  # type: ignore[misc]
        time.sleep(rng.uniform(0.0, 0.5))
        siege.kill(rng.choice(siege.workers))
        siege.start()
    siege.finish()
    different = siege.num_different()
    kept, moved = siege.repeated()
    asked = siege.asked()
    figures = {
        "kills": len(siege.lost),
        "trees": siege.num_stored(),
        "different": different,
        "calls": len({seed for _, seed in asked}),
        "asked": len(asked),
        "in flight at kills": sum(map(len, siege.lost.values())),
        "repeated though durable": kept,
        "taken from the living": moved,
        "most often": max(Counter(seed for _, seed in asked).values()),
    }
    print(json.dumps(figures))  # noqa: T201 - for `pytest -s`
    assert different == 0
    assert kept == 0
    assert figures["kills"] == KILLS
    assert siege.num_logs() <= KILLS


@pytest.mark.parametrize("siege", [STALLS], indirect=True, ids=str)
def test_stalled_workers_change_nothing(siege: Siege) -> None:
    """Stopped until the broker has given their trees to others, then woken, they spoil no tree and end none twice."""
    siege.begin()
    for stall in range(STALLS):
        siege.until(lambda stall=stall: siege.num_stored() > TREES_PER_KILL * stall, f"stall {stall}")  # type: ignore[misc]
        stalled = siege.workers[stall % NUM_WORKERS].process
        stalled.send_signal(signal.SIGSTOP)
        time.sleep(STALL_SECONDS)
        stalled.send_signal(signal.SIGCONT)
    siege.finish()
    assert siege.num_different() == 0
    siege.until(lambda: siege.num_logs() <= STALLS * MAX_TREES, "logs deleted")
