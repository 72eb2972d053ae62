"""The RL study: what it calls a gain, and over what its intervals are."""

from __future__ import annotations

import pytest

from benchmarks.rl_study import gain, pooled, shares
from retrograde.analysis.artifacts import Row
from retrograde.core.problem import Verdict


def row(problem: str, sample: int, verdict: Verdict) -> Row:
    return Row(problem, sample, verdict, answer="", num_tokens=5, backtracks=0, valid_backtracks=0, text="")


def test_a_problem_counts_the_share_of_its_right_samples() -> None:
    """A timeout is not right."""
    rows = [row("a", 0, Verdict.CORRECT), row("a", 1, Verdict.TIMEOUT), row("b", 0, Verdict.INCORRECT)]

    assert shares(rows) == {"a": 0.5, "b": 0.0}


def test_seeds_are_pooled_per_problem() -> None:
    """Problems that a seed lacks are left out."""
    assert pooled([{"a": 1.0, "b": 0.0, "c": 1.0}, {"a": 0.5, "b": 0.25}]) == {"a": 0.75, "b": 0.125}


@pytest.mark.parametrize(("after", "apart"), [(0.9, True), (0.55, False), (0.1, False)])
def test_only_a_rise_with_intervals_apart_is_a_gain(after: float, *, apart: bool) -> None:
    """Half of forty problems right before: 55 % is within the noise, and a fall is none however clear."""
    before = {str(i): float(i % 2) for i in range(40)}

    found = gain("astro", "all", before, {str(i): float(i < 40 * after) for i in range(40)})

    assert found.apart is apart
