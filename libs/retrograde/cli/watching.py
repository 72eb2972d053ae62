"""`retrograde watch`: a run drawn while it works, from what the store knows of it; also one that has ended.

    its stages    state, how far, the time they took, what they say of themselves
    its training  the job at work (all of them once the run has ended): its latest step, and curves over its steps

On a terminal it is drawn anew every second. Elsewhere a line is printed when a stage changes, and every half minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from retrograde.analysis.job_steps import JobSteps
from retrograde.analysis.tables import duration
from retrograde.cli.found_run import stored_run
from retrograde.cli.progress import RunProgress
from retrograde.cli.sparklines import sparkline
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2

_EVERY_SECONDS = 1.0
_CURVE_COLUMNS = 48
_CURVES = {
    "reward": "reward",
    "loss": "loss",
    "completions/mean_length": "length",
    "backtracks": "backtracks",
    "policy_lag/mean": "lag",
    "entropy": "entropy",
}
_SIGNS = {
    run_pb2.RUN_STATE_RUNNING: ("▶", "cyan", "running"),
    run_pb2.RUN_STATE_SUCCEEDED: ("✓", "green", "succeeded"),
    run_pb2.RUN_STATE_FAILED: ("✗", "red", "failed"),
    run_pb2.RUN_STATE_CANCELLED: ("■", "yellow", "cancelled"),
}
_NOT_BEGUN = ("·", "dim", "not begun")


class RunWatch:
    """What is known of one run; `look` brings it up to date, `view` draws it."""

    def __init__(self, store: ObjectStore, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._jobs: dict[str, JobSteps] = {}
        self.run = run_pb2.Run()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.run.state != run_pb2.RUN_STATE_RUNNING

    def look(self) -> None:
        """Reads what is new. Raises NotFoundError for an unknown run."""
        self.run = stored_run(self._store, self._run_id)
        for stage in self.run.stages:
            job = _job_of(stage.name)
            if job and (self.has_ended or stage.state == run_pb2.RUN_STATE_RUNNING):
                prefix = f"runs/{self._run_id}/jobs/{job}/steps/"
                self._jobs.setdefault(stage.name, JobSteps(self._store, prefix)).read()

    def view(self) -> Group:
        """The run as it is drawn."""
        sign, style, word = _SIGNS.get(self.run.state, _NOT_BEGUN)
        head = Text.assemble((f"{sign} ", style), (self.run.id, "bold"), f"  {word}", (f"  {self.run.error}", "red"))
        return Group(head, self._stages(), *self.curves())

    def _stages(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        stages = {stage.name: stage for stage in self.run.stages}
        for name in dict.fromkeys((*self.run.plan, *stages)):
            table.add_row(*_stage_row(name, stages.get(name, run_pb2.Stage())))
        return table

    def curves(self) -> list[Any]:
        """The training at work; once the run has ended, all of it."""
        at_work = {stage.name for stage in self.run.stages if stage.state == run_pb2.RUN_STATE_RUNNING}
        shown = {name: steps for name, steps in self._jobs.items() if self.has_ended or name in at_work}
        return [part for name, steps in shown.items() if steps.values for part in _job_view(name, steps)]


def watch(
    store: ObjectStore, run_id: str, console: Console, sleep: Callable[[float], None] = time.sleep
) -> run_pb2.Run:
    """Shows the run until it ends, and returns it."""
    watched = RunWatch(store, run_id)
    watched.look()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            _until_ended(watched, lambda: live.update(watched.view(), refresh=True), sleep)
    else:
        lines = RunProgress(console)
        _until_ended(watched, lambda: lines.show(watched.run), sleep)
        console.print(*watched.curves(), sep="\n", highlight=False)
    return watched.run


def _until_ended(watched: RunWatch, show: Callable[[], None], sleep: Callable[[float], None]) -> None:
    show()
    while not watched.has_ended:
        sleep(_EVERY_SECONDS)
        watched.look()
        show()


def _job_of(stage: str) -> str:
    """The job of "rl astro" is astro_rl; "" for a stage that trains nothing."""
    kind, _, data = stage.partition(" ")
    return f"{data}_{kind}" if kind in {"sft", "rl"} and data in {"direct", "astro"} else ""


def _stage_row(name: str, stage: run_pb2.Stage) -> list[Text]:
    sign, style, _ = _SIGNS.get(stage.state, _NOT_BEGUN)
    count = f"{stage.done:,}/{stage.total:,} {stage.unit}" if stage.total else ""
    is_running = stage.state == run_pb2.RUN_STATE_RUNNING
    took = duration(stage.cost.wall_seconds) if stage.HasField("started_at") else ""
    return [
        Text(f"{sign} {name}", style=style),
        Text(count, justify="right"),
        Text(took, justify="right", style="dim"),
        Text(stage.detail if is_running else "", style="dim", overflow="ellipsis", no_wrap=True),
    ]


def _job_view(name: str, steps: JobSteps) -> list[Any]:
    """A line of figures, and a row for each quantity that the steps have: its curve, the latest value, the range."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for key, title in _CURVES.items():
        values = [step[key] for step in steps.values if key in step]
        if values:
            ends = f"{min(values):.3g} to {max(values):.3g}"
            table.add_row(
                f"  {title}", Text(sparkline(values, _CURVE_COLUMNS), style="cyan"), f"{values[-1]:.3g}", ends
            )
    head = Text.assemble((f"\n{name}", "bold"), f"  step {len(steps.values):,}: ", (steps.figures(), "dim"))
    return [head, table]
