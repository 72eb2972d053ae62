"""`python -m benchmarks.search_scale`: what the coordinator costs when very many trees are in flight in one process.

The driver alone, all trees at once, a policy that answers after 50 ms whoever else asks, grading in this process, and
no log. Prints one JSON object. CPU per call is the process's, less what policy and grading computed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time

from benchmarks.scripted_policy import InProcessVerifier, ScriptedPolicy, problems
from retrograde.core.problem import Problem, Provenance
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.tasks.task import load_task
from services.search.driver import Driver, NoLog
from services.search.engine_gate import EngineGate

_CALL_SECONDS = 0.05


class _Counts:
    """Of all trees."""

    def __init__(self) -> None:
        self.calls = self.nodes = self.samples = 0


async def _search(driver: Driver, problem: Problem, settings: SearchSettings, counts: _Counts) -> None:
    tree = SearchTree(problem, provenance=Provenance(seed=1))
    search = make_search(tree, load_task(problem.task), settings)
    async for record in driver.run(search, NoLog(), settings.feed_order):
        counts.calls += 1
        counts.samples += record.call.num_samples
    counts.nodes += len(tree.nodes)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _measure(num_trees: int, settings: SearchSettings, target: float) -> dict[str, float]:
    policy, verifier, counts = ScriptedPolicy(_CALL_SECONDS), InProcessVerifier(), _Counts()
    driver = Driver(policy, verifier, EngineGate(target))
    asked = problems(num_trees)
    idle_mib, began, cpu = _peak_mib(), time.perf_counter(), time.process_time()
    await asyncio.gather(*(_search(driver, problem, settings, counts) for problem in asked))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    own = cpu - policy.cpu_seconds - verifier.cpu_seconds
    return {
        "trees_in_flight": num_trees,
        "calls": counts.calls,
        "seconds": round(seconds, 2),
        "trees_per_second": round(num_trees / seconds, 1),
        "calls_per_second": round(counts.calls / seconds, 1),
        "samples_per_second": round(counts.samples / seconds, 1),
        "coordinator_cpu_microseconds_per_call": round(own / counts.calls * 1e6, 1),
        "policy_and_grading_cpu_share": round(1 - own / cpu, 3),
        "peak_mib": round(_peak_mib(), 1),
        "kib_per_tree": round((_peak_mib() - idle_mib) * 1024 / num_trees, 1),
        "nodes_per_tree": round(counts.nodes / num_trees, 1),
    }


def main() -> None:
    """Measures once."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_scale", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--trees", type=int, default=10_000, help="searched at the same time")
    parser.add_argument("--iterations", type=int, default=32)
    parser.add_argument("--actions", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--in-flight", type=int, default=1, help="calls of a tree at the same time")
    parser.add_argument("--target", type=float, default=float("inf"), help="samples in flight over all trees")
    args = parser.parse_args()
    settings = SearchSettings(
        num_iterations=args.iterations,
        num_actions=args.actions,
        num_rollouts=args.rollouts,
        max_in_flight=args.in_flight,
    )
    print(json.dumps(asyncio.run(_measure(args.trees, settings, args.target))))


if __name__ == "__main__":
    main()
