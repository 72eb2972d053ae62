"""What is ready is dealt to those who stand in line, whoever asks first."""

from __future__ import annotations

import pytest

from services.rollouts.pulls import Pull, share


def dealt(num_ready: int, wanted: list[int], order: tuple[int, ...]) -> list[int]:
    """What each gets of `num_ready` when they ask in `order`, one after the other."""
    line = [Pull(count) for count in wanted]
    given = [0] * len(line)
    for each in order:
        given[each] = share(line[each], line, num_ready, lambda pull: pull.room(0))
        num_ready -= given[each]
        line[each].num_groups = 0
    return given


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_pulls_share_alike(order: tuple[int, ...]) -> None:
    """Also where the later one asks first."""
    assert dealt(10, [10, 10], order) == [5, 5]


def test_the_first_in_line_gets_what_is_over() -> None:
    """One group is for who stood in line first; another pull finds none."""
    line = [Pull(10), Pull(10)]
    assert [share(pull, line, 1, lambda each: each.room(0)) for pull in line] == [1, 0]
    assert share(Pull(10), line, 2, lambda each: each.room(0)) == 0
