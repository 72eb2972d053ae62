"""`python -m benchmarks [NAME,...]`: measures ours against something else, and leaves build/bench.json.

A goal that is missed is said in the table and changes no exit status: this measures. An unknown name ends it with 2.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import (
    broker,
    broker_scaling,
    grpo,
    inference,
    lockstep,
    rollouts,
    search,
    search_cpu,
    sft,
    store,
    unary,
    verifier,
    weight_swap,
)
from benchmarks.bench import Bench
from benchmarks.choosing import UnknownBenchError, choose
from benchmarks.pairs import Result, measure
from benchmarks.table import table, write_json

FAMILIES = (
    verifier.BENCHES,
    inference.BENCHES,
    sft.BENCHES,
    weight_swap.BENCHES,
    search.BENCHES,
    search_cpu.BENCHES,
    lockstep.BENCHES,
    broker.BENCHES,
    store.BENCHES,
    unary.BENCHES,
    broker_scaling.BENCHES,
    rollouts.BENCHES,
    grpo.BENCHES,
)
OUTPUT = Path("build/bench.json")
TABLE_COLUMNS = 110


def main() -> int:
    """Chooses, measures, writes, shows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="?", default="", help="names of benches, comma-separated; all by default")
    try:
        benches = choose(parser.parse_args().only, list(itertools.chain(*FAMILIES)))
    except UnknownBenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    results = _measure_all(benches, Console(stderr=True))
    console = Console(width=max(Console().width, TABLE_COLUMNS))
    console.print(table(results))
    for result in results:
        console.print(f"[bold]{result.name}[/]: {result.note}", highlight=False)
    return 0


def _measure_all(benches: list[Bench], console: Console) -> list[Result]:
    """Writes what is known after each bench, so that the failure of a later one costs only itself."""
    columns = (TextColumn("{task.description:18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results = []
    with Progress(*columns, console=console) as progress:
        bars = [progress.add_task(bench.name, total=bench.num_repetitions + 1, start=False) for bench in benches]
        for bench, bar in zip(benches, bars, strict=True):
            progress.start_task(bar)
            results.append(measure(bench, lambda bar=bar: progress.advance(bar)))  # type: ignore[misc]
            write_json(results, OUTPUT)
    return results


if __name__ == "__main__":
    sys.exit(main())
