"""The search service: does a second worker do as much as the first?

    search-two-workers   trees per second by two worker processes, against one

Workers have a core each where there are enough, share the broker's file and the store's directory, and ask a policy in
their own process that answers after 50 ms: the worker is what limits them. Measured is from the first stored tree of a
batch to its last, so that starting a process and joining the group are left out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Arms, Bench, Direction
from benchmarks.scripted_policy import problems
from retrograde.core.problem import Problem
from retrograde.core.settings import SearchSettings
from retrograde.recipe.recipe import Policy, Problems, ProblemSource, Recipe
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.v1 import messages_pb2
from retrograde.wire.convert import problem_to_proto
from retrograde.wire.topics import NUM_PARTITIONS, PROBLEMS_TOPIC

_ROOT = Path(__file__).resolve().parents[1]
_NUM_TREES = 320
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0
_RECIPE = Recipe(
    name="bench",
    seed=1,
    task="countdown",
    policy=Policy(checkpoint="/none"),
    problems=Problems(search=ProblemSource(), evaluate=ProblemSource()),
    search=SearchSettings(num_iterations=8, num_actions=8, num_rollouts=16, max_in_flight=4),
)


class _Batches:
    """The same batch for each arm, each time in a folder of its own."""

    def __init__(self) -> None:
        self._problems = problems(_NUM_TREES)

    def by(self, num_workers: int) -> float:
        """Trees per second."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            queue(f"sqlite://{folder}/broker.db", f"file://{folder}/store", "bench", _RECIPE, self._problems)
            with _workers(folder, num_workers):
                return _rate(folder / "store/runs/bench/trees")


def queue(broker_url: str, store_url: str, run_id: str, recipe: Recipe, batch: Sequence[Problem]) -> None:
    """Puts the recipe of a run in the store and its problems on the topic."""
    recipe_key = f"runs/{run_id}/recipe.json"
    open_store(store_url).put(recipe_key, recipe.model_dump_json().encode())
    with contextlib.closing(open_broker(broker_url)) as broker:
        broker.create_topic(PROBLEMS_TOPIC, NUM_PARTITIONS)
        for problem in batch:
            message = messages_pb2.ProblemQueued(
                run_id=run_id, problem=problem_to_proto(problem), settings_key=recipe_key
            )
            broker.publish(PROBLEMS_TOPIC, f"{run_id}/{problem.id}", message.SerializeToString())


@contextlib.contextmanager
def _workers(folder: Path, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.search_worker", str(folder)]
    processes = [subprocess.Popen([*command, str(core)], cwd=_ROOT, stderr=subprocess.DEVNULL) for core in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def _rate(trees: Path) -> float:
    """Trees per second between the first and the last one stored. Raises TimeoutError when they do not come."""
    give_up = time.perf_counter() + _PATIENCE_SECONDS
    first = first_at = 0.0
    while time.perf_counter() < give_up:
        stored = sum(1 for _ in trees.iterdir()) if trees.is_dir() else 0
        if stored and not first:
            first, first_at = stored, time.perf_counter()
        if stored >= _NUM_TREES:
            return (stored - first) / (time.perf_counter() - first_at)
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"{_NUM_TREES} trees were not searched in {_PATIENCE_SECONDS:.0f} s; run one worker by hand")


@contextlib.contextmanager
def _open_two_workers() -> Iterator[Arms]:
    batches = _Batches()
    note = (
        f"{_NUM_TREES} trees of 8 iterations x (8 steps + 16 rollouts), policy and judge in the workers' processes, "
        f"{os.cpu_count()} cores for workers, broker, store and this bench"
    )
    yield Arms(lambda: batches.by(2), lambda: batches.by(1), note=lambda: note)


BENCHES: Sequence[Bench] = (Bench("search-two-workers", "trees/s", 1.8, Direction.UP, _open_two_workers),)
