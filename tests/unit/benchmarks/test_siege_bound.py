"""The most good answers per second that bombs can leave."""

from __future__ import annotations

import pytest

from benchmarks.verifier import good_answers_bound


@pytest.mark.parametrize(
    ("clean_rate", "num_seats", "deadline_seconds", "bound"),
    [
        (1000.0, 9, 1.0, 171.0),  # nine seats end nine bombs a second, and 19 good answers come with each bomb
        (100.0, 9, 1.0, 95.0),  # the grader itself is slower than that
        (1000.0, 1, 5.0, 3.8),
    ],
)
def test_the_bound_is_the_smaller_of_two(
    clean_rate: float, num_seats: int, deadline_seconds: float, bound: float
) -> None:
    """With 5 % bombs: 95 % of the clean rate, or what the seats leave that each bomb holds for its deadline."""
    assert good_answers_bound(0.05, clean_rate, num_seats, deadline_seconds) == pytest.approx(bound)
