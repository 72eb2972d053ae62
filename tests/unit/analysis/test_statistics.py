"""Intervals over problems, votes, and correlations against hand-computed and simulated values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrograde.analysis import statistics


def test_pass_at_1_is_the_mean_of_problem_means() -> None:
    """Each problem counts once, however many samples it has."""
    assert statistics.pass_at_1([[True], [False, False, False, False]]).value == pytest.approx(0.5)


def test_copied_samples_leave_the_interval_as_wide() -> None:
    """Ten copies of every sample say nothing new, so the interval must not shrink (it would over single samples)."""
    generator = np.random.default_rng(3)
    once = [[bool(generator.random() < 0.4)] for _ in range(100)]
    copied = [samples * 10 for samples in once]
    assert statistics.pass_at_1(copied) == statistics.pass_at_1(once)


def test_interval_covers_the_truth_as_often_as_it_claims() -> None:
    """In 200 simulated evaluations with dependent samples the 95 % interval holds the truth 90 to 99 % of times."""
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        rates = generator.beta(0.6, 0.9, size=120)  # true mean 0.4, problems far apart
        estimate = statistics.pass_at_1((generator.random((120, 4)) < rates[:, None]).tolist())
        hits += estimate.low <= 0.4 <= estimate.high
    assert 180 <= hits <= 198


def test_interval_matches_the_cluster_robust_formula() -> None:
    """With many problems the bootstrap agrees with mean +- 1.96 standard errors of the problem means."""
    means = np.random.default_rng(1).random(400)
    estimate = statistics.mean_over_problems(means)
    half = 1.96 * means.std(ddof=1) / math.sqrt(400)
    assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.05)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_failure_in_twenty_is_not_certainty(value: float) -> None:
    """Where all problems agree the interval is Wilson's: 0 of 20 is [0, 0.161]."""
    estimate = statistics.mean_over_problems([value] * 20)
    assert estimate.value == value
    assert estimate.high - estimate.low == pytest.approx(0.1611, abs=1e-4)


def test_no_problems_is_an_error() -> None:
    """A mean of nothing is refused, not 0."""
    with pytest.raises(ValueError, match="no problems"):
        statistics.mean_over_problems([])


def test_pairing_takes_difficulty_out_of_a_difference() -> None:
    """Where one arm beats the other by the same on each problem, however hard, the difference is certain."""
    easy_and_hard = np.random.default_rng(2).random(50) * 0.5
    difference = statistics.paired_difference(easy_and_hard + 0.25, easy_and_hard)
    assert (difference.low, difference.high) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize(
    ("answers", "correct", "expected"),
    [
        (["28", "28", "17"], [True, True, False], 1.0),
        (["17", "17", "28"], [False, False, True], 0.0),
        (["28", "17"], [True, False], 0.5),  # a tie is shared
        (["28", "28"], [True, False], 0.5),  # the same claim, once false: either may be picked
        (["", "", "28"], [False, False, True], 1.0),  # who states nothing has no vote
        (["", ""], [False, False], 0.0),
    ],
)
def test_vote(answers: list[str], correct: list[bool], expected: float) -> None:
    """The most frequent answer wins; its share of right samples is the score."""
    assert statistics.vote(answers, correct) == expected


def test_vote_at_k_is_the_mean_over_subsets() -> None:
    """Random subsets estimate the exact mean over all subsets of k."""
    answers, correct = ["a", "a", "b", "b", "c", "a"], [True, True, False, False, False, True]
    subsets = list(itertools.combinations(range(6), 3))
    exact = np.mean([statistics.vote([answers[i] for i in s], [correct[i] for i in s]) for s in subsets])
    assert statistics.vote_at_k(answers, correct, 3, num_subsets=4000) == pytest.approx(exact, abs=0.02)


@given(st.integers(1, 12), st.data())
def test_any_of_k_is_the_share_of_subsets_with_a_right_sample(size: int, data: st.DataObject) -> None:
    """The closed form equals counting all subsets of k."""
    right = data.draw(st.integers(0, size))
    k = data.draw(st.integers(1, size))
    subsets = list(itertools.combinations(range(size), k))
    share = sum(any(i < right for i in subset) for subset in subsets) / len(subsets)
    assert statistics.any_of_k(size, right, k) == pytest.approx(share)


def test_pearson_by_hand() -> None:
    """R of (1, 2, 3, 4) and (1, 3, 2, 4) is 0.8."""
    assert statistics.pearson([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)


@pytest.mark.parametrize(("x", "y"), [([1.0, 1, 1], [1.0, 2, 3]), ([1.0, 2], [1.0, 2]), ([], [])])
def test_undefined_correlation_is_none(x: list[float], y: list[float]) -> None:
    """No spread or fewer than three points give None, never 0 or 1."""
    assert statistics.pearson(x, y) is None


def test_partial_correlation_removes_what_length_explains() -> None:
    """Backtracks and score that both only follow length correlate strongly, and not at all given length."""
    generator = np.random.default_rng(7)
    length = generator.normal(size=4000)
    backtracks, score = length + generator.normal(size=4000), length + generator.normal(size=4000)
    raw = statistics.pearson(backtracks, score)
    partial = statistics.partial_correlation(backtracks, score, length)
    assert raw == pytest.approx(0.5, abs=0.05)
    assert partial == pytest.approx(0.0, abs=0.05)


def test_partial_correlation_matches_the_textbook_formula() -> None:
    """It equals (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2))."""
    x, y, z = np.random.default_rng(9).random((3, 30))
    r_xy, r_xz, r_yz = np.corrcoef(x, y)[0, 1], np.corrcoef(x, z)[0, 1], np.corrcoef(y, z)[0, 1]
    expected = (r_xy - r_xz * r_yz) / math.sqrt((1 - r_xz**2) * (1 - r_yz**2))
    assert statistics.partial_correlation(x, y, z) == pytest.approx(expected)


def test_given_itself_nothing_is_left() -> None:
    """What length explains exactly leaves no correlation to report."""
    assert statistics.partial_correlation([1, 2, 3, 4], [4.0, 1, 3, 2], [2, 4, 6, 8]) is None


def test_within_groups_reverses_what_difficulty_made() -> None:
    """Hard problems draw more backtracks and fail more; on each problem backtracks help: the sign turns."""
    backtracks = [0.0, 1.0, 4.0, 5.0]
    score = [0.8, 1.0, 0.0, 0.2]
    problems = ["easy", "easy", "hard", "hard"]
    raw = statistics.pearson(backtracks, score)
    within = statistics.pearson(
        statistics.within_groups(backtracks, problems), statistics.within_groups(score, problems)
    )
    assert raw is not None
    assert raw < -0.8
    assert within == pytest.approx(1.0)
