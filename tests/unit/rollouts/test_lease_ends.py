"""A lease that ends while its stream is open: what was not delivered is nobody's twice, and not the old session's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from retrograde.runtime.errors import FencedError
from services.rollouts.delivery import Delivery
from services.rollouts.feed import Feed
from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings
from tests.unit.rollouts.rollouts_fakes import PROBLEMS, Clock, ScriptedPolicy, pulled, service, until

NUM_AHEAD = 140
"""More than one lease covers."""


@asynccontextmanager
async def three_leased(
    tmp_path: Path, policy: ScriptedPolicy, clock: Clock
) -> AsyncIterator[tuple[Feed, AsyncGenerator[list[Delivery]]]]:
    """A feed that keeps no group, and a stream of `a` with a lease of three groups that has delivered one."""
    problems = [replace(PROBLEMS[0], id=f"p{i}", statement=f"Numbers: {i} 7 7, target: 28.") for i in range(9)]
    async with service(tmp_path, policy, problems=problems, max_kept_bytes=0) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, lease_seconds=100.0))
        feed.clock = clock
        stream = feed.pull(Pull(3, consumer="a"))
        policy.gate.clear()
        first = asyncio.ensure_future(anext(stream))
        await until(lambda: policy.running == 3)
        policy.gate.set()
        await first
        assert feed.tickets.holders() == {"a": 3}
        yield feed, stream
        await stream.aclose()


async def test_what_lapsed_before_it_was_read_is_not_sent(tmp_path: Path) -> None:
    """`a` reads on after its leases have lapsed and `b` has the groups: it gets others, as many as it asked for."""
    policy, clock = ScriptedPolicy(), Clock()
    async with three_leased(tmp_path, policy, clock) as (feed, stream):
        clock.now += 100.0
        others = await pulled(feed, 3, consumer="b")
        later = [group async for batch in stream for group in batch]
        assert len(later) == 2
        assert not {group.id for group in later} & {group.id for group in others}


@pytest.mark.parametrize("end", ["lapse", "session"])
async def test_what_another_is_being_given_is_not_given_back(tmp_path: Path, end: Literal["lapse", "session"]) -> None:
    """`a` breaks off after its leases have ended and `b` waits for the same groups: `c` gets others."""
    policy, clock = ScriptedPolicy(), Clock()
    async with three_leased(tmp_path, policy, clock) as (feed, stream):
        if end == "lapse":
            clock.now += 100.0
        else:
            await feed.begin_session("a")
        policy.gate.clear()
        waiting = [asyncio.create_task(pulled(feed, 3, consumer="b"))]
        await until(lambda: policy.running == 3)
        await stream.aclose()
        waiting.append(asyncio.create_task(pulled(feed, 3, consumer="c")))
        await until(lambda: policy.running == 6)
        assert len(set(policy.asked[3:])) == 6
        policy.gate.set()
        groups = [group.id for given in await asyncio.gather(*waiting) for group in given]
    assert sorted(groups) == [f"0000-000000{place}" for place in range(6)]


async def test_an_older_session_gets_nothing_more_of_its_lease(tmp_path: Path) -> None:
    """Two groups are on their way to it when the new session opens: they are the new one's."""
    async with three_leased(tmp_path, ScriptedPolicy(), Clock()) as (feed, stream):
        await feed.begin_session("a")
        with pytest.raises(FencedError, match="newer session of 'a'"):
            await anext(stream)
        groups = await pulled(feed, 3, consumer="a")
        assert [group.id for group in groups] == ["0000-0000000", "0000-0000001", "0000-0000002"]


async def ran_ahead(feed: Feed) -> None:
    """`NUM_AHEAD` groups are ready; one more is used."""
    (group,) = await pulled(feed, 1)
    await feed.acknowledge([group.lease_id])
    await until(lambda: len(feed.ready) == NUM_AHEAD and not feed.sampling)


async def test_an_older_session_is_leased_nothing(tmp_path: Path) -> None:
    """Its next lease was about to be stored when the new session's opening was."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=NUM_AHEAD))
        await ran_ahead(feed)
        stream = feed.pull(Pull(NUM_AHEAD, consumer="a"))
        await anext(stream)
        await feed.begin_session("a")
        await feed.published(4)  # is stored after all that was to be stored before
        assert feed.tickets.holders() == {}
        with pytest.raises(FencedError, match="newer session of 'a'"):
            await anext(stream)
        assert len(await pulled(feed, NUM_AHEAD, consumer="a")) == NUM_AHEAD


async def test_every_lease_of_a_stream_is_held_to_its_version(tmp_path: Path) -> None:
    """Groups of an older policy become ready while the first lease is stored: the second one leaves them out."""
    policy = ScriptedPolicy(version=4)
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=NUM_AHEAD))
        await ran_ahead(feed)
        policy.version = 3
        policy.gate.clear()
        async with feed.journal._lock:
            pulling = asyncio.create_task(pulled(feed, 3 * NUM_AHEAD, min_policy_version=4))
            await until(lambda: policy.running == 8)
            policy.version = 4
            policy.gate.set()
            await until(lambda: any(group.policy_version == 3 for group in feed.ready.values()))
        groups = await pulling
    assert {group.policy_version for group in groups} == {4}
    assert len({group.id for group in groups}) == 3 * NUM_AHEAD
