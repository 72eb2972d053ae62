"""Scores with honest intervals, and correlations with what confounds them taken out.

Samples of one problem are dependent (a hard problem fails them all), so the unit of every interval is the problem:
whole problems are drawn with replacement (cluster bootstrap, percentile interval), never single samples. All functions
are deterministic: the generator's seed is fixed.

Shapes: P problems, S samples of a problem (S may differ between problems), N points of a correlation.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats

NUM_RESAMPLES = 4000
"""Bootstrap draws: the ends of a 95 % interval then wobble by about 2 % of its width."""
_SEED = 20250701
_Z95 = 1.959963984540054
_FEWEST_POINTS = 3  # two points always correlate perfectly
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_over_problems(values: Values) -> Estimate:
    """Mean of one figure per problem, [P], with the cluster bootstrap's 95 % percentile interval over problems.

    Where all problems agree on 0 or on 1 the bootstrap would claim certainty; there the interval is Wilson's over
    problems. Raises ValueError without problems.
    """
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("mean_over_problems: there are no problems")
    mean = float(array.mean())
    if array.min() == array.max():
        return Estimate(mean, *_wilson(mean, array.size))
    draws = _resampled_rows(array.size) @ array / array.size
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(mean, float(low), float(high))


def pass_at_1(correct: Sequence[Sequence[bool]]) -> Estimate:
    """Mean over problems of the share of right samples (paper, section on evaluation), with its 95 % interval."""
    return mean_over_problems([float(np.mean(samples)) for samples in correct])


def paired_difference(first: Values, second: Values) -> Estimate:
    """Mean of first - second over the same problems; pairing takes the problems' difficulty out of the interval."""
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    if difference.size and difference.min() == difference.max():
        return Estimate(float(difference[0]), float(difference[0]), float(difference[0]))
    return mean_over_problems(difference)


def vote(answers: Sequence[str], correct: Sequence[bool]) -> float:
    """Share of right samples among those that gave the most frequent answer; tied answers share evenly.

    A sample without an answer ("") has no vote; nobody voting scores 0. Where right and wrong samples state the same
    answer (Countdown: the target, reached or only claimed), the share is what picking one of them at random expects.
    """
    counts = Counter(answer for answer in answers if answer)
    if not counts:
        return 0.0
    top = max(counts.values())
    shares = []
    for winner in (answer for answer, count in counts.items() if count == top):
        votes = [right for answer, right in zip(answers, correct, strict=True) if answer == winner]
        shares.append(sum(votes) / len(votes))
    return sum(shares) / len(shares)


def vote_at_k(answers: Sequence[str], correct: Sequence[bool], k: int, num_subsets: int = 128) -> float:
    """maj@k of one problem: the mean of `vote` over subsets of k of its S samples (all of them together if S <= k).

    Every subset where there are at most `num_subsets`, else so many random ones. This uses every sample, where "the
    first k" would throw S - k away; both are unbiased.
    """
    size = len(answers)
    if size <= k:
        return vote(answers, correct)
    picks = _subsets(size, k, num_subsets)
    return float(np.mean([vote([answers[i] for i in pick], [correct[i] for i in pick]) for pick in picks]))


def any_of_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased pass@k of one problem: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021); k is capped at n."""
    k = min(k, num_samples)
    return 1.0 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def pearson(x: Values, y: Values) -> float | None:
    """Pearson's r; None where either side does not vary or fewer than three points are given."""
    a, b = _centred(x), _centred(y)
    scale = math.sqrt(float(a @ a) * float(b @ b))
    if len(a) < _FEWEST_POINTS or scale < _NOTHING:
        return None
    return max(-1.0, min(1.0, float(a @ b) / scale))


def partial_correlation(x: Values, y: Values, given: Values) -> float | None:
    """Pearson's r of what a straight line in `given` leaves of x and of y; None where nothing is left."""
    return pearson(_residuals(x, given), _residuals(y, given))


def within_groups(values: Values, groups: Sequence[str]) -> Floats:
    """Each value less its group's mean: correlating these controls for all that a group has in common.

    With problems as groups this takes difficulty out: does more backtracking go with success on the *same* problem?
    """
    array = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=array)
    return np.asarray(array - (sums / np.bincount(index))[index])


def _subsets(size: int, k: int, most: int) -> list[tuple[int, ...]]:
    if math.comb(size, k) <= most:
        return list(itertools.combinations(range(size), k))
    generator = np.random.default_rng(_SEED)
    return [tuple(generator.choice(size, k, replace=False)) for _ in range(most)]


@functools.lru_cache(maxsize=8)
def _resampled_rows(size: int) -> NDArray[np.int64]:
    """How often each of `size` problems is drawn: int64 [NUM_RESAMPLES, size], rows sum to size."""
    generator = np.random.default_rng(_SEED)
    return generator.multinomial(size, np.full(size, 1.0 / size), size=NUM_RESAMPLES)


def _wilson(share: float, size: int) -> tuple[float, float]:
    """Wilson's score interval of a share of `size` independent trials; outside [0, 1] the value itself, twice."""
    if not 0.0 <= share <= 1.0:
        return share, share
    square = _Z95**2 / size
    middle = (share + square / 2) / (1 + square)
    half = _Z95 / (1 + square) * math.sqrt(share * (1 - share) / size + square / (4 * size))
    return max(0.0, middle - half), min(1.0, middle + half)


def _centred(values: Values) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    return array - array.mean() if array.size else array


def _residuals(values: Values, given: Values) -> Floats:
    y, x = _centred(values), _centred(given)
    spread = float(x @ x)
    left: Floats = y if spread < _NOTHING else y - (float(x @ y) / spread) * x
    # What rounding leaves of an exact line is nothing.
    return np.zeros_like(left) if float(left @ left) <= _NOTHING**2 * max(1.0, float(y @ y)) else left
