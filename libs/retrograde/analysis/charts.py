"""Accuracy bars with their intervals, and curves over training steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retrograde.analysis import svg

_WIDTH, _LABEL, _PLOT, _ROW = 980.0, 205.0, 470.0, 34.0
_CURVE_WIDTH, _CURVE_HEIGHT, _LEFT, _TOP, _BOTTOM = 320.0, 200.0, 44.0, 30.0, 26.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A share (0-1) with its interval; `note` stands right of the figures, `class_` colours the bar."""

    label: str
    value: float
    low: float
    high: float
    note: str
    class_: str


def bars(entries: Sequence[Bar], title: str) -> str:
    """Horizontal bars on a common scale from 0 to a round share above the highest interval."""
    top = _round_up(max((bar.high for bar in entries), default=1.0))
    height = _ROW * len(entries) + 34
    marks = [_grid(share * top / 4, top, height) for share in range(5)]
    return svg.drawing(_WIDTH, height, [*marks, *(_bar(bar, i, top) for i, bar in enumerate(entries))], title)


def _grid(share: float, top: float, height: float) -> str:
    x = _LABEL + _PLOT * share / top
    label = svg.text(x, height - 6, f"{100 * share:.3g} %", "tick", "middle")
    return svg.line((x, 4), (x, height - 24), "grid") + label


def _bar(bar: Bar, index: int, top: float) -> str:
    y, scale = 8 + _ROW * index, _PLOT / top
    low, high, middle = _LABEL + bar.low * scale, _LABEL + bar.high * scale, y + 11
    figures = f"{100 * bar.value:.1f} %  [{100 * bar.low:.1f}, {100 * bar.high:.1f}]"
    return svg.tag(
        "g",
        svg.text(_LABEL - 12, middle + 4, bar.label, "label", "end")
        + svg.box(_LABEL, y, bar.value * scale, 22, "bar")
        + svg.line((low, middle), (high, middle), "whisker")
        + svg.line((low, middle - 5), (low, middle + 5), "whisker")
        + svg.line((high, middle - 5), (high, middle + 5), "whisker")
        + svg.text(_LABEL + _PLOT + 18, middle + 4, figures, "figure")
        + svg.text(_WIDTH, middle + 4, bar.note, "tick", "end"),
        class_=bar.class_,
    )


def curves(arms: Mapping[str, Mapping[str, Sequence[float]]], name: str, title: str) -> str:
    """One line per arm of values `name` over `step`: faint as measured, strong as a moving mean."""
    series = {arm: (values["step"], values[name]) for arm, values in arms.items() if values.get(name)}
    if not series:
        return ""
    frame = _Frame.around(series.values())
    content = [svg.text(0, 14, title, "label"), *frame.axes()]
    for arm, (steps, values) in series.items():
        faint = svg.polyline(frame.points(steps, values), "raw")
        strong = svg.polyline(frame.points(steps, moving_mean(values)), "curve")
        content.append(svg.tag("g", faint + strong, class_=f"arm-{arm}"))
    return svg.drawing(_CURVE_WIDTH, _CURVE_HEIGHT, content, f"{title} per training step")


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where data coordinates lie on the drawing."""

    first: float
    last: float
    low: float
    high: float

    @classmethod
    def around(cls, series: Any) -> _Frame:
        steps = [float(step) for each, _ in series for step in each]
        values = [float(value) for _, each in series for value in each]
        low, high = min(values), max(values)
        margin = 0.06 * (high - low) or 0.5
        return cls(min(steps), max(*steps, min(steps) + 1), low - margin, high + margin)

    def points(self, steps: Sequence[float], values: Sequence[float]) -> list[svg.Point]:
        return [(self._x(step), self._y(value)) for step, value in zip(steps, values, strict=True)]

    def axes(self) -> list[str]:
        ticks = nice_ticks(self.low, self.high)
        rows = [
            svg.line((_LEFT, self._y(value)), (_CURVE_WIDTH, self._y(value)), "grid")
            + svg.text(_LEFT - 6, self._y(value) + 4, f"{value:.4g}", "tick", "end")
            for value in ticks
        ]
        ends = [(self.first, "start"), (self.last, "end")]
        floor = _CURVE_HEIGHT - 6
        return rows + [svg.text(self._x(step), floor, f"step {step:.0f}", "tick", anchor) for step, anchor in ends]

    def _x(self, step: float) -> float:
        return _LEFT + (_CURVE_WIDTH - _LEFT - 4) * (step - self.first) / (self.last - self.first)

    def _y(self, value: float) -> float:
        return _TOP + (_CURVE_HEIGHT - _TOP - _BOTTOM) * (self.high - value) / (self.high - self.low)


def moving_mean(values: Sequence[float]) -> list[float]:
    """Each value averaged with its neighbours, a tenth of the series wide."""
    reach = max(1, len(values) // 20)
    windows = [values[max(0, i - reach) : i + reach + 1] for i in range(len(values))]
    return [sum(window) / len(window) for window in windows]


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values inside [low, high], roughly `about` of them."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((power * factor for factor in (1, 2, 5) if power * factor >= raw), power * 10)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _round_up(share: float) -> float:
    """The next of 4, 8, 12, ... 100 %: four grid lines then stand on whole percents."""
    return min(1.0, math.ceil(max(share, 0.04) * 25) / 25)
