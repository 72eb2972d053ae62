"""Group advantages against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from retrograde.core.advantages import group_advantages


def test_advantage_is_reward_less_the_groups_mean() -> None:
    """One right sample of four with rewards +1/-1 is 1.5 above its group, the others 0.5 below."""
    assert group_advantages([1, -1, -1, -1]).tolist() == [1.5, -0.5, -0.5, -0.5]


def test_groups_are_told_apart() -> None:
    """Each row is compared with its own mean alone."""
    assert group_advantages([[1.0, -1.0], [0.75, 0.25]]).tolist() == [[1.0, -1.0], [0.25, -0.25]]


def test_deviation_is_divided_out_by_setting() -> None:
    """With normalise_std the same group is divided by its deviation, sqrt(0.75), plus epsilon."""
    expected = np.array([1.5, -0.5, -0.5, -0.5]) / (np.sqrt(0.75) + 0.01)
    assert expected == pytest.approx(group_advantages([1, -1, -1, -1], normalise_std=True, epsilon=0.01))


@pytest.mark.parametrize("normalise_std", [False, True])
def test_equal_rewards_give_exact_zeros(normalise_std: bool) -> None:  # noqa: FBT001 - a parameter of the claim
    """A group of equal rewards carries no gradient, whatever rounding does to its mean."""
    assert group_advantages([0.1] * 6, normalise_std).tolist() == [0.0] * 6
