"""Measures a bench: a warm-up of both arms, then pairs whose order alternates, so that a drift of the machine cancels.

    warm-up   ours, against
    pair 1    ours, against
    pair 2    against, ours
    pair 3    ours, against ...

Each pair gives one ratio ours / against; the figures of a result are medians, and the range of the ratios is kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench import Arms, Bench, Direction

MIN_REPETITIONS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of a bench; the fields are those of build/bench.json."""

    name: str
    ours: float
    against: float
    unit: str
    ratio: float
    ratio_min: float
    ratio_max: float
    repetitions: int
    goal: float
    direction: str
    note: str

    @property
    def met(self) -> bool:
        """Whether the median ratio is on the good side of the goal."""
        return self.ratio >= self.goal if self.direction == Direction.UP.value else self.ratio <= self.goal


def measure(bench: Bench, on_pair: Callable[[], None]) -> Result:
    """Runs the bench; `on_pair` is called after the warm-up and after each pair."""
    if bench.num_repetitions < MIN_REPETITIONS:
        raise ValueError(f"{bench.name}: num_repetitions is {bench.num_repetitions}; take at least {MIN_REPETITIONS}")
    with bench.open_arms() as arms:
        _pair(arms, 0)
        on_pair()
        pairs = []
        for repetition in range(1, bench.num_repetitions + 1):
            pairs.append(_pair(arms, repetition))
            on_pair()
        return _result(bench, pairs, arms.note())


def _pair(arms: Arms, repetition: int) -> tuple[float, float]:
    """(ours, against); an even repetition other than the warm-up begins with the other arm."""
    arms.prepare(repetition)
    if repetition % 2 or not repetition:
        ours = arms.ours()
        return ours, arms.against()
    against = arms.against()
    return arms.ours(), against


def _result(bench: Bench, pairs: list[tuple[float, float]], note: str) -> Result:
    ratios = [ours / against for ours, against in pairs]
    return Result(
        name=bench.name,
        ours=statistics.median(ours for ours, _ in pairs),
        against=statistics.median(against for _, against in pairs),
        unit=bench.unit,
        ratio=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        repetitions=len(pairs),
        goal=bench.goal,
        direction=bench.direction.value,
        note=note,
    )
