"""What the search service costs beside the engine it feeds, on the recipes' own services, models and settings.

    search-cpu            CPU seconds of the search process, against the wall seconds of the same searches: the demo's
    search-cpu-smollm2    the same with SmolLM2-135M on word problems

From the first problem on the topic to the last stored tree; the engine, the verifier, the broker's file and the store's
folder share the machine. Read from /proc, so this needs Linux.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Arms, Bench, Direction
from benchmarks.search import queue
from retrograde.cli.backends import Choice, running_backends
from retrograde.cli.background import read_state
from retrograde.cli.searching import SERVICES
from retrograde.cli.supervisor import Supervisor
from retrograde.cli.topology import Topology
from retrograde.core.problem import Problem
from retrograde.recipe.recipe import Recipe, load_recipe
from retrograde.runtime.adapters import open_store
from retrograde.tasks.task import load_task
from services.trainer.stages.grown_trees import GrownTrees

_RECIPES = Path(__file__).resolve().parents[1] / "recipes"
_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 300.0


class _Searches:
    """Searches a batch of the demo's problems each time, and says what it took."""

    def __init__(self, topology: Topology, recipe: Recipe, num_trees: int) -> None:
        self._topology = topology
        self._recipe = recipe
        self._num_trees = num_trees
        self._pid = _pid(topology.folder)
        self._seconds = self._cpu_seconds = 0.0
        self._num_calls = 0

    def prepare(self, repetition: int) -> None:
        """New problems, searched to the last one."""
        run_id, problems = f"bench-{repetition}", self._problems(repetition)
        began, cpu = time.perf_counter(), _cpu_seconds(self._pid)
        queue(self._topology.backends.broker, self._topology.backends.store, run_id, self._recipe, problems)
        trees = self._until_stored(run_id)
        self._seconds, self._cpu_seconds = time.perf_counter() - began, _cpu_seconds(self._pid) - cpu
        self._num_calls = trees.cost.model_calls

    def _until_stored(self, run_id: str) -> GrownTrees:
        """Raises TimeoutError when the trees do not come."""
        trees = GrownTrees(open_store(self._topology.backends.store), f"runs/{run_id}/trees/")
        give_up = time.perf_counter() + _PATIENCE_SECONDS
        while len(trees.ids) < self._num_trees:
            if time.perf_counter() > give_up:
                raise TimeoutError(f"{self._num_trees} trees were not searched in {_PATIENCE_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)
            trees.read()
        return trees

    def _problems(self, repetition: int) -> Sequence[Problem]:
        options = self._recipe.problems.search.options
        if "count" in options:
            options = {**options, "count": self._num_trees}
        return load_task(self._recipe.task).problems(options, "search", repetition)[: self._num_trees]

    def cpu_seconds(self) -> float:
        """Of the search process, for the last batch."""
        return self._cpu_seconds

    def seconds(self) -> float:
        """Wall time of the last batch."""
        return self._seconds

    def note(self) -> str:
        """What was searched."""
        return (
            f"{self._num_trees} trees, {self._num_calls} calls in {self._seconds:.1f} s, "
            f"{1000 * self._cpu_seconds / self._num_calls:.2f} ms of CPU a call; {os.cpu_count()} cores for all"
        )


def _pid(folder: Path) -> int:
    state = read_state(folder)
    if state is None:
        raise RuntimeError(f"{folder}: the services do not run")
    return int(state["services"]["search"]["pid"])


def _cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, by /proc/PID/stat (fields 14 and 15; proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _open(recipe_name: str, num_trees: int) -> Iterator[Arms]:
    recipe = load_recipe(_RECIPES / recipe_name)
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        folder, policy = Path(name), recipe.policy
        urls = stack.enter_context(running_backends(folder, Choice()))
        topology = Topology(folder, urls, policy.checkpoint, policy.max_model_tokens, recipe.task, services=SERVICES)
        supervisor = Supervisor(topology)
        runner.run(supervisor.__aenter__())
        try:
            searches = _Searches(topology, recipe, num_trees)
            yield Arms(searches.cpu_seconds, searches.seconds, searches.prepare, searches.note)
        finally:
            runner.run(supervisor.__aexit__(None, None, None))


def _bench(name: str, recipe_name: str, num_trees: int) -> Bench:
    return Bench(name, "s", 0.05, Direction.DOWN, functools.partial(_open, recipe_name, num_trees))


BENCHES: Sequence[Bench] = (
    _bench("search-cpu", "countdown.yaml", 300),
    _bench("search-cpu-smollm2", "smollm2.yaml", 10),
)
