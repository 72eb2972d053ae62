"""The figure of the search study shows the committed results."""

from __future__ import annotations

import json
import re

from benchmarks.study_plot import FIGURE, RESULTS, by_search, figure


def rate(solved: float) -> dict[str, object]:
    return {"solved": solved, "ci95": [solved - 0.1, solved + 0.1]}


ROWS = [
    {"arm": "beam", "solved_at_tokens": {"200": rate(0.14), "400": rate(0.28)}},
    {"arm": "best_of_n@200", "solved_at_tokens": {"200": rate(0.21)}},
    {"arm": "best_of_n@400", "solved_at_tokens": {"400": rate(0.35)}},
]


def test_runs_of_one_search_are_one_row_and_the_best_comes_first() -> None:
    """`name@budget` joins its name; the order is that of the largest budget."""
    assert by_search(ROWS) == {
        "best of n": {"200": rate(0.21), "400": rate(0.35)},
        "beam": {"200": rate(0.14), "400": rate(0.28)},
    }


def test_a_dot_stands_at_its_share_and_says_its_figures() -> None:
    """35 % is in the middle of a scale to 70 %, and dots of the larger budget have its colour."""
    drawn = figure(ROWS)
    dots = re.findall(r'<circle cx="([\d.]+)" cy="[\d.]+" r="4" class="(b\d)"><title>([^<]+)', drawn)
    assert dots == [
        ("370", "b0", "21.0 % [11.0, 31.0]"),
        ("470", "b1", "35.0 % [25.0, 45.0]"),
        ("320", "b0", "14.0 % [4.0, 24.0]"),
        ("420", "b1", "28.0 % [18.0, 38.0]"),
    ]


def test_the_committed_figure_is_drawn_from_the_committed_results() -> None:
    """`python -m benchmarks.study_plot` leaves it as it is."""
    assert FIGURE.read_text(encoding="utf-8") == figure(json.loads(RESULTS.read_text(encoding="utf-8")))
