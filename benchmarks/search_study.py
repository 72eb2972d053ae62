"""`python -m benchmarks.search_study`: solve rate against generated tokens, for each search on the same problems.

Every search asks the same served model, on countdown with four numbers (three are searched out by some twenty calls),
until it has generated `--tokens` per problem; after each reply the tokens spent and whether a right answer is known are
written down, so one run gives the whole curve. Gumbel plans for its budget and is therefore run once per budget. Prints
the table and leaves it in a file; the arms that `--only` leaves out keep the rows they have there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.inference_process import ROOT, Inference, running_inference, write_settings
from retrograde.analysis.statistics import mean_over_problems
from retrograde.core.problem import Problem
from retrograde.core.search import Call, Reply, Search
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.tasks.countdown import TASK
from retrograde.wire.clients import InferenceClient

OUTPUT = Path("build/search_study.json")
PROBLEMS = {"num_numbers": 4, "count": 300, "max_number": 15, "target": [10, 60]}
BASE = SearchSettings(
    num_iterations=400, num_actions=4, num_rollouts=2, max_depth=5, max_step_tokens=28, max_rollout_tokens=80
)
BUDGETS = (200, 400, 800)
MAX_SAMPLES_IN_FLIGHT = 384
ANSWER_SECONDS = 300.0
_SEED = 11

Row = dict[str, object]


@dataclass(slots=True)
class Curve:
    """Of one problem: (generated tokens, whether solved) after each reply."""

    points: list[tuple[int, bool]] = field(default_factory=list)

    def solved_within(self, tokens: int) -> float:
        """1.0 if a right answer was known when `tokens` were spent."""
        return float(any(solved for spent, solved in self.points if spent <= tokens))


@dataclass(frozen=True, slots=True)
class Arm:
    """A search with a name; `budget` is what it plans for."""

    name: str
    settings: SearchSettings
    budget: int


def arms(tokens: int) -> list[Arm]:
    """What is compared: one anytime run each, Gumbel once per budget."""
    changes: dict[str, dict[str, object]] = {
        "puct": {},
        "puct, every child": {"evaluate": "children"},
        "uct": {"selection": "uct"},
        "best_first": {"algorithm": "best_first"},
        "beam": {"algorithm": "beam"},
        "best_of_n": {"algorithm": "best_of_n", "num_rollouts": 4},
        "puct, 4 in flight": {"max_in_flight": 4},
        "puct, 16 in flight": {"max_in_flight": 16},
        "puct, 4 in flight, visits only": {"max_in_flight": 4, "virtual_loss": 0.0},
    }
    found = [Arm(name, BASE.model_copy(update=change), tokens) for name, change in changes.items()]
    per_iteration = 62.0  # tokens an iteration takes here, about: what Gumbel's schedule needs
    for budget in (each for each in BUDGETS if each <= tokens):
        change = {"selection": "gumbel", "num_iterations": max(2, round(budget / per_iteration))}
        found.append(Arm(f"gumbel@{budget}", BASE.model_copy(update=change), budget))
    return found


class Study:
    """Runs arms against one served model."""

    def __init__(self, client: InferenceClient) -> None:
        self._client = client
        self._gate = asyncio.Semaphore(MAX_SAMPLES_IN_FLIGHT // BASE.num_actions)

    async def run(self, arm: Arm, problems: Sequence[Problem], progress: Progress) -> list[Curve]:
        """One curve per problem."""
        bar = progress.add_task(arm.name, total=len(problems))

        async def one(problem: Problem) -> Curve:
            curve = await self._search(arm, problem)
            progress.advance(bar)
            return curve

        return list(await asyncio.gather(*map(one, problems)))

    async def _search(self, arm: Arm, problem: Problem) -> Curve:
        search, curve = make_search(SearchTree(problem), TASK, arm.settings), Curve()
        asked: dict[int, asyncio.Task[Reply]] = {}
        while search.in_flight and search.spent.generated_tokens < arm.budget:
            for call in search.in_flight.values():
                if call.index not in asked:
                    asked[call.index] = asyncio.create_task(self._ask(search, call))
            oldest = next(iter(search.in_flight.values()))
            search.feed(oldest, await asked.pop(oldest.index))
            curve.points.append((search.spent.generated_tokens, search.num_correct > 0))
        for task in asked.values():
            task.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)
        return curve

    async def _ask(self, search: Search, call: Call) -> Reply:
        seed = random.Random(f"{_SEED}/{search.tree.problem.id}/{call.index}").getrandbits(60)
        async with self._gate:
            async with asyncio.timeout(ANSWER_SECONDS):
                generation = await self._client.generate(search.prompt(call), search.sampling(call, seed))
        texts = search.to_grade(call, generation.completions)
        grades = {index: TASK.grade(search.tree.problem, text) for index, text in texts.items()}
        return Reply(generation.completions, grades)


def summary(name: str, curves: Sequence[Curve], budgets: Sequence[int]) -> Row:
    """Solve rate with its interval at each budget."""
    rates = {}
    for budget in budgets:
        found = mean_over_problems([curve.solved_within(budget) for curve in curves])
        rates[str(budget)] = {"solved": found.value, "ci95": [found.low, found.high]}
    spent = statistics.mean(curve.points[-1][0] if curve.points else 0 for curve in curves)
    return {"arm": name, "problems": len(curves), "solved_at_tokens": rates, "mean_tokens": spent}


def table(rows: Sequence[Row], budgets: Sequence[int]) -> Table:
    """A row per arm, a column per budget."""
    drawn = Table("search", *(f"{budget} tokens" for budget in budgets), "tokens used")
    for row in rows:
        rates = row["solved_at_tokens"]
        cells = [_cell(rates.get(str(budget))) for budget in budgets] if isinstance(rates, dict) else []
        drawn.add_row(str(row["arm"]), *cells, f"{row['mean_tokens']:.0f}")
    return drawn


def _cell(rate: Any) -> str:
    if rate is None:
        return ""
    low, high = rate["ci95"]
    return f"{100 * rate['solved']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


async def study(client: InferenceClient, tokens: int, count: int, only: Sequence[str]) -> list[Row]:
    """All arms, one after the other."""
    problems = TASK.problems(PROBLEMS | {"count": count}, "evaluate", 0)
    budgets = [budget for budget in BUDGETS if budget <= tokens]
    runner, rows = Study(client), []
    with Progress(console=Console(stderr=True)) as progress:
        for arm in arms(tokens):
            if only and not arm.name.startswith(tuple(only)):
                continue
            began = time.perf_counter()
            curves = await runner.run(arm, problems, progress)
            measured = [arm.budget] if arm.name.startswith("gumbel") else budgets
            rows.append(summary(arm.name, curves, measured) | {"seconds": time.perf_counter() - began})
            progress.console.print(f"{arm.name}: {rows[-1]['seconds']:.0f} s")
    return rows


def main() -> int:
    """Serves the demo's base model, runs the study, writes and shows it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_study", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--tokens", type=int, default=800, help="generated tokens per problem and search")
    parser.add_argument("--problems", type=int, default=300, help="held-out problems")
    parser.add_argument("--only", nargs="*", default=[], help="arms whose name begins with one of these")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where the rows are kept")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"checkpoint": str(ROOT / "models/countdown4-base"), "store": f"file://{folder}/store"}
        with running_inference(write_settings(Path(folder), settings)) as inference:
            rows = served(inference, chosen)
    Console(width=130).print(table(write(chosen.output, rows), [each for each in BUDGETS if each <= chosen.tokens]))
    return 0


def write(output: Path, rows: Sequence[Row]) -> list[Row]:
    """Puts `rows` in the file, in the place of those of the same arms over as many problems; returns all."""
    known: list[Row] = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else []
    merged = {row["arm"]: row for row in known if row["problems"] == rows[0]["problems"]}
    merged |= {row["arm"]: row for row in rows}
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(list(merged.values()), indent=1) + "\n", encoding="utf-8")
    return list(merged.values())


def served(inference: Inference, chosen: argparse.Namespace) -> list[Row]:
    """The study on the connection of `inference`."""
    return inference.run(lambda client: study(client, chosen.tokens, chosen.problems, chosen.only))


if __name__ == "__main__":
    sys.exit(main())
