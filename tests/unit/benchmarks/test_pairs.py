"""How benches are measured, chosen and told, with arms that only keep count."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.bench import Arms, Bench, Direction
from benchmarks.choosing import UnknownBenchError, choose
from benchmarks.pairs import measure
from benchmarks.table import table, write_json

OURS = [99.0, 10.0, 30.0, 12.0, 40.0, 11.0]
AGAINST = [1.0, 5.0, 10.0, 6.0, 10.0, 5.0]


class Script:
    """Two arms that return the next of their figures, and what was called in which order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._ours = iter(OURS)
        self._against = iter(AGAINST)

    def ours(self) -> float:
        self.calls.append("ours")
        return next(self._ours)

    def against(self) -> float:
        self.calls.append("against")
        return next(self._against)

    def prepare(self, repetition: int) -> None:
        self.calls.append(str(repetition))

    @contextlib.contextmanager
    def open_arms(self) -> Iterator[Arms]:
        self.calls.append("open")
        yield Arms(self.ours, self.against, self.prepare, lambda: "a note")
        self.calls.append("close")


def bench(script: Script, **changes: object) -> Bench:
    fields = {"name": "a", "unit": "1/s", "goal": 2.0, "direction": Direction.UP, "open_arms": script.open_arms}
    return Bench(**(fields | changes))  # type: ignore[arg-type]


def test_arms_run_in_turn_and_the_order_alternates() -> None:
    """A warm-up pair, then five; every second one begins with the other arm, and all lie inside one opening."""
    script = Script()
    measure(bench(script), lambda: script.calls.append("."))
    forwards, backwards = ["ours", "against", "."], ["against", "ours", "."]
    assert script.calls == [
        "open",
        *("0", *forwards),
        *("1", *forwards),
        *("2", *backwards),
        *("3", *forwards),
        *("4", *backwards),
        *("5", *forwards),
        "close",
    ]


def test_figures_are_medians_and_the_warm_up_is_left_out(tmp_path: Path) -> None:
    """The ratio is the median of the pairs' ratios, with its range; bench.json is a list of just these fields."""
    results = [measure(bench(Script()), lambda: None)]
    write_json(results, tmp_path / "build/bench.json")
    assert json.loads((tmp_path / "build/bench.json").read_text()) == [
        {
            "name": "a",
            "ours": 12.0,
            "against": 6.0,
            "unit": "1/s",
            "ratio": 2.2,
            "ratio_min": 2.0,
            "ratio_max": 4.0,
            "repetitions": 5,
            "goal": 2.0,
            "direction": "up",
            "note": "a note",
        }
    ]


@pytest.mark.parametrize(
    ("goal", "direction", "said"),
    [
        (2.2, Direction.UP, "met"),
        (2.3, Direction.UP, "missed"),
        (2.2, Direction.DOWN, "met"),
        (2.1, Direction.DOWN, "missed"),
    ],
)
def test_the_table_says_whether_the_goal_is_met(goal: float, direction: Direction, said: str) -> None:
    """Up: at least the goal. Down: at most."""
    result = measure(bench(Script(), goal=goal, direction=direction), lambda: None)
    output = io.StringIO()
    Console(file=output, width=120).print(table([result]))
    assert [word for word in output.getvalue().split() if word in {"met", "missed"}] == [said]


def test_fewer_than_five_pairs_are_refused() -> None:
    """A median of less says little: the bench is named, and the least number."""
    with pytest.raises(ValueError, match="a: num_repetitions is 4; take at least 5"):
        measure(bench(Script(), num_repetitions=4), lambda: None)


def test_names_choose_benches() -> None:
    """An empty choice takes all; names take those, in the benches' own order."""
    benches = [bench(Script(), name=name) for name in ("one", "two", "three")]
    assert [chosen.name for chosen in choose("", benches)] == ["one", "two", "three"]
    assert [chosen.name for chosen in choose("three, one", benches)] == ["one", "three"]


def test_an_unknown_name_is_an_error_that_lists_the_names() -> None:
    """The name, what may have been meant, and all there are."""
    benches = [bench(Script(), name=name) for name in ("one", "two")]
    with pytest.raises(UnknownBenchError, match=r"ONLY: 'tow' is no bench; did you mean 'two'\? There are: one, two"):
        choose("one,tow", benches)
