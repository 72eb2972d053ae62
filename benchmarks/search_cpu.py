"""What the search service costs beside the engine it feeds, on the demo's own services, model and settings.

    search-cpu   CPU seconds of the search process, against the wall seconds of the same searches

From the first problem on the topic to the last stored tree; the engine, the verifier, the broker's file and the store's
folder share the machine. Read from /proc, so this needs Linux.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from retrograde.recipe.recipe import load_recipe
from retrograde.runtime.adapters import open_store
from retrograde.tasks.task import load_task
from services.trainer.stages.grown_trees import GrownTrees

_RECIPE = load_recipe(Path(__file__).resolve().parents[1] / "recipes/countdown.yaml")
_NUM_TREES = 300
_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 300.0
_GOAL = 0.05


class _Searches:
    """Searches a batch of the demo's problems each time, and says what it took."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._pid = _pid(topology.folder)
        self._seconds = self._cpu_seconds = 0.0
        self._num_calls = 0

    def prepare(self, repetition: int) -> None:
        """New problems, searched to the last one."""
        run_id, problems = f"bench-{repetition}", _problems(repetition)
        began, cpu = time.perf_counter(), _cpu_seconds(self._pid)
        queue(self._topology.backends.broker, self._topology.backends.store, run_id, _RECIPE, problems)
        trees = self._until_stored(run_id)
        self._seconds, self._cpu_seconds = time.perf_counter() - began, _cpu_seconds(self._pid) - cpu
        self._num_calls = trees.cost.model_calls

    def _until_stored(self, run_id: str) -> GrownTrees:
        """Raises TimeoutError when the trees do not come."""
        trees = GrownTrees(open_store(self._topology.backends.store), f"runs/{run_id}/trees/")
        give_up = time.perf_counter() + _PATIENCE_SECONDS
        while len(trees.ids) < _NUM_TREES:
            if time.perf_counter() > give_up:
                raise TimeoutError(f"{_NUM_TREES} trees were not searched in {_PATIENCE_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)
            trees.read()
        return trees

    def cpu_seconds(self) -> float:
        """Of the search process, for the last batch."""
        return self._cpu_seconds

    def seconds(self) -> float:
        """Wall time of the last batch."""
        return self._seconds

    def note(self) -> str:
        """What was searched."""
        return (
            f"{_NUM_TREES} trees, {self._num_calls} calls in {self._seconds:.1f} s, "
            f"{1000 * self._cpu_seconds / self._num_calls:.2f} ms of CPU a call; {os.cpu_count()} cores for all"
        )


def _problems(repetition: int) -> Sequence[Problem]:
    options = {**_RECIPE.problems.search.options, "count": _NUM_TREES}
    return load_task(_RECIPE.task).problems(options, "search", repetition)


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
def _open() -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        folder, policy = Path(name), _RECIPE.policy
        urls = stack.enter_context(running_backends(folder, Choice()))
        topology = Topology(folder, urls, policy.checkpoint, policy.max_model_tokens, _RECIPE.task, services=SERVICES)
        supervisor = Supervisor(topology)
        runner.run(supervisor.__aenter__())
        try:
            searches = _Searches(topology)
            yield Arms(searches.cpu_seconds, searches.seconds, searches.prepare, searches.note)
        finally:
            runner.run(supervisor.__aexit__(None, None, None))


BENCHES: Sequence[Bench] = (Bench("search-cpu", "s", _GOAL, Direction.DOWN, _open),)
