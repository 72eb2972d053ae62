"""Groups of one size, and episodes that say nothing of a group."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from interop_groups import a_group

from retrograde.interop.groups import filled
from retrograde.interop.verifiers import group
from retrograde.runtime.errors import InvalidInputError


def test_copies_leave_the_mean_reward_as_it_is() -> None:
    """Rewards 1, -1, -1 are followed by their mean, and none of a copy's tokens is trained on."""
    samples = filled(a_group(), 5)
    assert [sample.reward for sample in samples] == pytest.approx([1, -1, -1, -1 / 3, -1 / 3])
    assert [sample.mask.tolist() for sample in samples[3:]] == [[0, 0], [0, 0]]


def test_a_whole_group_stays_as_it_is() -> None:
    """A group of the size asked for is its own samples."""
    whole = a_group()
    assert all(sample is own for sample, own in zip(filled(whole, 3), whole.samples, strict=True))


@pytest.mark.parametrize("found", [[], [SimpleNamespace(traces=[SimpleNamespace(info={})])]])
def test_episodes_of_others_are_refused(found: list[Any]) -> None:
    """An episode that was not made from a group does not say which one it is."""
    with pytest.raises(InvalidInputError, match="no info 'retrograde' in them"):
        group(found)
