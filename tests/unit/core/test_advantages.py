"""Group advantages against values worked out by hand."""

from __future__ import annotations

from typing import get_args

import pytest

from retrograde.core.advantages import Advantage, group_advantages


def test_advantage_is_reward_less_the_groups_mean() -> None:
    """One right sample of four with rewards +1/-1 is 1.5 above its group, the others 0.5 below."""
    assert group_advantages([[1, -1, -1, -1]])[0].tolist() == [1.5, -0.5, -0.5, -0.5]


def test_groups_are_told_apart_whatever_their_sizes() -> None:
    """Each is compared with its own mean alone."""
    assert [own.tolist() for own in group_advantages([[1.0, -1.0], [0.75, 0.25, 0.5]])] == [[1, -1], [0.25, -0.25, 0]]


def test_the_groups_deviation_is_divided_out() -> None:
    """Squares of 1.5, -0.5, -0.5, -0.5 sum to 3: the sample's deviation is 1."""
    expected = [1.5 / 1.0001, *[-0.5 / 1.0001] * 3]

    assert group_advantages([[1, -1, -1, -1]], "group_std")[0].tolist() == pytest.approx(expected)


def test_the_batchs_deviation_is_divided_out() -> None:
    """Rewards 1, -1 and 1, 1 have mean 1/2 and squares that sum to 3: the mixed group is divided by 1."""
    mixed, equal = group_advantages([[1, -1], [1, 1]], "batch_std")

    assert mixed.tolist() == pytest.approx([1 / 1.0001, -1 / 1.0001])
    assert equal.tolist() == [0, 0]


def test_leave_one_out_compares_with_the_others_mean() -> None:
    """The right one of four is 1 - (-1) = 2 above the others; a wrong one -1 - (-1/3) = -2/3."""
    third = pytest.approx(-2 / 3)

    assert group_advantages([[1, -1, -1, -1]], "leave_one_out")[0].tolist() == [2, third, third, third]


@pytest.mark.parametrize("kind", get_args(Advantage))
def test_equal_rewards_give_exact_zeros(kind: Advantage) -> None:
    """A group of equal rewards, or of one, carries no gradient, whatever rounding does to its mean."""
    assert [own.tolist() for own in group_advantages([[0.1] * 6, [0.3]], kind)] == [[0.0] * 6, [0.0]]
