"""Progress of a run on a terminal: one bar a stage with its rate and what is left; plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from retrograde.analysis.tables import duration
from retrograde.v1 import run_pb2

_PLAIN_EVERY_SECONDS = 30.0
_STATES: Mapping[int, str] = {
    run_pb2.RUN_STATE_SUCCEEDED: "done",
    run_pb2.RUN_STATE_FAILED: "failed",
    run_pb2.RUN_STATE_CANCELLED: "cancelled",
}


class _Rate(ProgressColumn):
    """Units per second (per minute where slow) since this watch began, and the time left at that rate."""

    def render(self, task: Task) -> Text:
        """One cell."""
        if task.fields["ended"]:
            return Text(task.fields["ended"], style="green" if task.finished else "")
        speed = task.speed
        if not speed:
            return Text("")
        unit = task.fields["unit"]
        shown = f"{speed:.1f} {unit}/s" if speed >= 1 else f"{60 * speed:.1f} {unit}/min"
        left = f", {duration(task.time_remaining)} left" if task.time_remaining else ""
        return Text(shown + left, style="cyan")


class RunProgress:
    """Shows `Run` messages as they come. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._told: dict[str, tuple[str, float]] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", table_column=Column(min_width=22)),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[count]} {task.fields[unit]}"),
            _Rate(),
            TextColumn("[dim]{task.fields[detail]}", table_column=Column(no_wrap=True)),
            console=console,
            speed_estimate_period=60.0,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def show(self, run: run_pb2.Run) -> None:
        """Brings the bars up to date."""
        for stage in run.stages:
            if self._console.is_terminal:
                self._bar(stage)
            else:
                self._line(stage)

    def _bar(self, stage: run_pb2.Stage) -> None:
        if stage.name not in self._bars:
            self._bars[stage.name] = self._progress.add_task(
                stage.name, total=1, completed=stage.done, unit=stage.unit, count="", detail="", ended=""
            )
        ended = _ended(stage)
        total = max(1, stage.total, stage.done)
        completed = total if stage.state == run_pb2.RUN_STATE_SUCCEEDED else stage.done
        self._progress.update(
            self._bars[stage.name],
            completed=completed,
            total=total,
            unit=stage.unit,
            count=f"{stage.done}/{stage.total}" if stage.total else f"{stage.done}",
            detail=stage.detail,
            ended=ended,
        )

    def _line(self, stage: run_pb2.Stage) -> None:
        """Tells a stage when its state changes, and every half minute while it runs."""
        state, now = _STATES.get(stage.state, "running"), time.monotonic()
        known, told_at = self._told.get(stage.name, ("", 0.0))
        if state == known and (state != "running" or now - told_at < _PLAIN_EVERY_SECONDS):
            return
        self._told[stage.name] = (state, now)
        took = f" in {_ended(stage)}" if state == "done" else ""
        counts = f"{stage.done}/{stage.total} {stage.unit}" if stage.total else ""
        self._console.print(f"{stage.name}: {state}{took}  {counts}  {stage.detail}".rstrip(), highlight=False)


def _ended(stage: run_pb2.Stage) -> str:
    """How long a finished stage took, in words; "" before."""
    if stage.state == run_pb2.RUN_STATE_SUCCEEDED and stage.HasField("finished_at"):
        return duration((stage.finished_at.ToNanoseconds() - stage.started_at.ToNanoseconds()) / 1e9)
    return _STATES.get(stage.state, "")
