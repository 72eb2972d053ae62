"""A group is serialised once; every delivery of it has its own lease, and several travel in one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrograde.v1.rollouts_service_pb2 import PullRolloutsResponse
from services.rollouts.delivery import MOST_BYTES, Delivery, batches, response
from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings
from services.rollouts.tickets import Ticket
from tests.unit.rollouts.rollouts_fakes import ScriptedPolicy, contents, received, service, until


async def test_another_delivery_differs_in_its_lease_alone(tmp_path: Path) -> None:
    """What the consumer reads is the same group, under the lease that the ledger has."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2))
        stream = feed.pull(Pull(1))
        (first,) = await anext(stream)
        again = first.again()
        await stream.aclose()
    groups = [received(first), received(again)]
    assert contents(groups[:1]) == contents(groups[1:])
    assert [group.lease_id for group in groups] == [first.lease_id, again.lease_id]
    assert first.lease_id != again.lease_id


@pytest.mark.parametrize(("num_fitting", "sizes"), [(0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
async def test_what_is_ready_together_travels_together(num_fitting: int, sizes: list[int], tmp_path: Path) -> None:
    """As many in one message as its bytes allow, or one; the message of several has each as it was made, in order."""
    async with service(tmp_path, ScriptedPolicy(lengths=(300,))) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=5))
        await anext(feed.pull(Pull(1)))
        await until(lambda: len(feed.ready) == 5)
        groups = list(feed.ready.values())
        messages = list(batches(groups, num_fitting * max(len(group.response) for group in groups)))
        assert [len(batch) for batch in messages] == sizes
        assert [group for batch in messages for group in batch] == groups
        for batch in messages:
            came = PullRolloutsResponse.FromString(response(batch))
            told = [PullRolloutsResponse.FromString(group.response).group for group in batch]
            assert list(came.groups or [came.group]) == told


def test_a_message_has_a_bound_of_our_own() -> None:
    """However much a pull asks for, two large groups come in a message each."""
    large = Delivery(Ticket(0, 0), "0000-0000000/x", 3, (2, 2), bytes(MOST_BYTES // 2 + 1))
    assert list(batches([large, large], 1 << 40)) == [[large], [large]]


async def test_a_stream_that_breaks_gives_back_whole_messages(tmp_path: Path) -> None:
    """What was in the message that was sent stays with the consumer; what was in the next is free."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=5))
        await anext(feed.pull(Pull(1, consumer="warm")))
        await until(lambda: len(feed.ready) == 5)
        two = 2 * max(len(group.response) for group in feed.ready.values())
        stream = feed.pull(Pull(5, consumer="breaks", max_message_bytes=two))
        assert len(await anext(stream)) == 2
        await stream.aclose()
        assert feed.tickets.holders()["breaks"] == 2
