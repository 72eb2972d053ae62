"""A group is serialised once; every delivery of it has its own lease."""

from __future__ import annotations

from pathlib import Path

from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings
from tests.unit.rollouts.rollouts_fakes import contents, received, service


async def test_another_delivery_differs_in_its_lease_alone(tmp_path: Path) -> None:
    """What the consumer reads is the same group, under the lease that the ledger has."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2))
        stream = feed.pull(Pull(1))
        first = await anext(stream)
        again = first.again()
        await stream.aclose()
    groups = [received(first), received(again)]
    assert contents(groups[:1]) == contents(groups[1:])
    assert [group.lease_id for group in groups] == [first.lease_id, again.lease_id]
    assert first.lease_id != again.lease_id
