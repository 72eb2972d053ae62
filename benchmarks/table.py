"""Results for people (a table) and for programs (a JSON list)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from benchmarks.pairs import Result

_WHOLE = 100


def write_json(results: Sequence[Result], path: Path) -> None:
    """Writes a list with one object per result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")


def table(results: Sequence[Result]) -> Table:
    """A row per bench: medians, the range of the ratio, and whether the goal is met."""
    drawn = Table("bench", "ours", "against", "unit", "ratio", "range", "goal", "")
    for result in results:
        sign = ">=" if result.direction == "up" else "<="
        drawn.add_row(
            result.name,
            _figure(result.ours),
            _figure(result.against),
            result.unit,
            f"{result.ratio:.3g}",
            f"{result.ratio_min:.3g} - {result.ratio_max:.3g}",
            f"{sign} {result.goal:g}",
            "[green]met[/]" if result.met else "[yellow]missed[/]",
        )
    return drawn


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _WHOLE else f"{value:.3g}"
