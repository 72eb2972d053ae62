"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int) -> str:
    """At most `width` bars, each the mean of its share of the values; lowest to highest. What is no number is a gap."""
    means = [_mean(part) for part in _parts(values, width)]
    numbers = [mean for mean in means if not math.isnan(mean)]
    if not numbers:
        return " " * len(means)
    low, span = min(numbers), max(numbers) - min(numbers)
    return "".join(_bar(mean, low, span) for mean in means)


def _parts(values: Sequence[float], width: int) -> list[Sequence[float]]:
    count = min(width, len(values))
    bounds = [len(values) * i // count for i in range(count + 1)] if count else [0]
    return [values[first:last] for first, last in pairwise(bounds)]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _bar(value: float, low: float, span: float) -> str:
    if math.isnan(value):
        return " "
    return _BARS[round((len(_BARS) - 1) * (value - low) / span)] if span else _BARS[0]
