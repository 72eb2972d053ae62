"""`python -m benchmarks.study_plot`: the committed results of the search study as docs/search_study.svg.

A row per search, in the order of what it solves with the largest budget; in it a dot per budget on a scale of shares,
with its 95 % interval.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from retrograde.analysis import svg

_ROOT = Path(__file__).resolve().parents[1]
RESULTS = _ROOT / "benchmarks/results/search_study.json"
FIGURE = _ROOT / "docs/search_study.svg"
_LEFT, _PLOT, _ROW, _TOP, _HIGHEST = 220.0, 500.0, 30.0, 40.0, 70
_COLOURS = ("#7fa3cc", "#376fa8", "#b4492f", "#6f7f3f")
_STYLE = "text{font:13px system-ui,sans-serif;fill:#656b76}.grid{stroke:#8b909b;stroke-opacity:.35}" + "".join(
    f".b{i}{{stroke:{colour};fill:{colour};stroke-width:2}}" for i, colour in enumerate(_COLOURS)
)

Rates = Mapping[str, Mapping[str, Any]]
"""By budget in tokens: `solved`, and its interval `ci95`."""


def by_search(rows: Sequence[Mapping[str, Any]]) -> dict[str, Rates]:
    """Rates by search, the best with the largest budget first; the runs of one search (`name@budget`) are one row."""
    merged: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        merged.setdefault(row["arm"].partition("@")[0].replace("_", " "), {}).update(row["solved_at_tokens"])
    return dict(sorted(merged.items(), key=lambda item: -item[1][max(item[1], key=int)]["solved"]))


def figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """A drawing that stands by itself."""
    searches = by_search(rows)
    budgets = sorted({budget for rates in searches.values() for budget in rates}, key=int)
    bottom = _TOP + _ROW * len(searches)
    content = [svg.tag("style", _STYLE), *_scale(bottom), *_legend(budgets)]
    for i, (name, rates) in enumerate(searches.items()):
        y = _TOP + _ROW * (i + 0.5)
        content.append(svg.text(_LEFT - 14, y + 4, name, anchor="end"))
        content += [_mark(rates[budget], y + 5 * (at - 1), f"b{at}") for at, budget in enumerate(budgets)]
    title = "Share of problems solved, by search and generated tokens per problem"
    drawn = svg.drawing(_LEFT + _PLOT + 40, bottom + 30, content, title)
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _x(share: float) -> float:
    return _LEFT + _PLOT * 100 * share / _HIGHEST


def _scale(bottom: float) -> Iterator[str]:
    for percent in range(0, _HIGHEST + 1, 10):
        x = _x(percent / 100)
        yield svg.line((x, _TOP), (x, bottom), "grid") + svg.text(x, bottom + 18, f"{percent} %", anchor="middle")


def _legend(budgets: Sequence[str]) -> Iterator[str]:
    for at, budget in enumerate(budgets):
        x = _LEFT + 130 * at
        yield svg.dot((x, 16), 4, f"b{at}") + svg.text(x + 10, 20, f"{budget} tokens")


def _mark(rate: Mapping[str, Any], y: float, class_: str) -> str:
    low, high = rate["ci95"]
    note = f"{100 * rate['solved']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return svg.line((_x(low), y), (_x(high), y), class_) + svg.dot((_x(rate["solved"]), y), 4, class_, note)


def main() -> None:
    """Draws the results."""
    FIGURE.write_text(figure(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
