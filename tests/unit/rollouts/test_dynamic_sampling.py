"""Groups that teach nothing are replaced, prompts of the wrong difficulty rest, and each still counts exactly once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from retrograde.core.problem import Verdict
from retrograde.runtime.errors import InvalidInputError
from services.rollouts.settings import FeedSettings
from tests.unit.rollouts.rollouts_fakes import ScriptedVerifier, leases, pulled, service

RIGHT, WRONG = (Verdict.CORRECT,) * 2, (Verdict.INCORRECT,) * 2
ONE_OF_EACH = {"p0": RIGHT, "p1": WRONG}
"""p2, p3 and p4 have mixed groups."""


async def test_equal_groups_are_dropped_and_replaced(tmp_path: Path) -> None:
    """A pull of six gets six mixed groups, of two epochs; the four equal ones are used, and the ledger says why."""
    settings = FeedSettings(group_size=2, drop_equal_groups=True, num_epochs=2)
    async with service(tmp_path, verifier=ScriptedVerifier(of_problem=ONE_OF_EACH)) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings)
        groups = await pulled(feed, 6)
        assert sorted(group.problem.id for group in groups) == ["p2", "p2", "p3", "p3", "p4", "p4"]
        assert await feed.acknowledge(leases(groups)) == 6
        assert await pulled(feed, 1) == []
    async with service(tmp_path) as feeds:
        tickets = (await feeds.get("f")).tickets
        assert (tickets.ended, tickets.num_acknowledged, tickets.dropped) == (True, 6, {"equal": 4})


async def test_equal_groups_are_delivered_by_default(tmp_path: Path) -> None:
    """A trainer that wants to count them gets them."""
    async with service(tmp_path, verifier=ScriptedVerifier(RIGHT)) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2))
        assert len(await pulled(feed, 5)) == 5


async def test_prompts_that_never_differ_are_an_error(tmp_path: Path) -> None:
    """A feed that would sample for ever says what is wrong instead."""
    async with service(tmp_path, verifier=ScriptedVerifier(WRONG)) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, drop_equal_groups=True))
        with pytest.raises(InvalidInputError, match="equal rewards in 256 groups in a row"):
            await pulled(feed, 1)


async def test_prompts_outside_the_band_rest_and_are_tried_again(tmp_path: Path) -> None:
    """Too easy and too hard ones are delivered in the first epoch, rest in two, and come back in the fourth.

    The service is a new one for each epoch: pass rates are in the ledger.
    """
    settings = FeedSettings(group_size=2, pass_rate_band=(0.01, 0.75), band_rest_epochs=2, num_epochs=4)
    seen = []
    for count in (5, 3, 3, 5):
        async with service(tmp_path, verifier=ScriptedVerifier(of_problem=ONE_OF_EACH)) as feeds:
            feed = await feeds.open("f", "prompts.jsonl", settings)
            groups = await pulled(feed, count)
            await feed.acknowledge(leases(groups))
            seen.append(sorted(group.problem.id for group in groups))
    everything, mixed = ["p0", "p1", "p2", "p3", "p4"], ["p2", "p3", "p4"]
    assert seen == [everything, mixed, mixed, everything]
    assert (feed.tickets.ended, feed.tickets.dropped) == (True, {"resting": 4})


def test_a_band_that_is_none_is_refused() -> None:
    """The error names field and value."""
    with pytest.raises(ValidationError, match=r"pass_rate_band: \[0.8, 0.2\] is no"):
        FeedSettings(pass_rate_band=(0.8, 0.2))
