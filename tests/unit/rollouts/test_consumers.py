"""Several consumers on one feed: each holds its own, nobody loses or doubles anything, and nobody starves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from retrograde.runtime.errors import FencedError, NotFoundError, UnavailableError
from services.rollouts.delivery import Delivery
from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings
from tests.unit.rollouts.rollouts_fakes import Clock, ScriptedPolicy, contents, leases, pulled, service, until

SETTINGS = FeedSettings(group_size=2, lease_seconds=100.0)
ONCE = FeedSettings(group_size=2, lease_seconds=100.0, num_epochs=1)


async def test_a_new_session_hands_back_its_own_leases_only(tmp_path: Path) -> None:
    """What `a` holds stays with it when `b` opens the feed again; what `b` held is redelivered as it was."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS, "a")
        mine = await pulled(feed, 2, consumer="a")
        theirs = await pulled(feed, 2, consumer="b")
        await feeds.open("f", "prompts.jsonl", SETTINGS, "b")
        again = await pulled(feed, 2, consumer="b")
        assert contents(again) == contents(theirs)
        assert not set(leases(again)) & set(leases(theirs))
        assert await feed.acknowledge(leases(mine), "a") == 2
        with pytest.raises(NotFoundError, match="has lapsed or was never given"):
            await feed.acknowledge(leases(theirs), "b")


async def test_a_lapsed_lease_is_redelivered_as_it_was(tmp_path: Path) -> None:
    """Another consumer gets the same id, tokens and version, and the policy is not asked again."""
    policy, clock = ScriptedPolicy(), Clock()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", ONCE)
        feed.clock = clock
        first = await pulled(feed, 5, consumer="dies")
        clock.now += 100.0
        second = await pulled(feed, 5, consumer="lives")
    assert contents(second) == contents(first)
    assert len(policy.asked) == 5


async def test_a_group_that_is_not_kept_is_sampled_again_under_its_id(tmp_path: Path) -> None:
    """Memory is bounded; what had to leave it is lost for nobody."""
    policy, clock = ScriptedPolicy(), Clock()
    async with service(tmp_path, policy, max_kept_bytes=0) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", ONCE)
        feed.clock = clock
        first = await pulled(feed, 5)
        clock.now += 100.0
        second = await pulled(feed, 5)
        assert feeds.kept.num_bytes == 0
    assert sorted(group.id for group in second) == sorted(group.id for group in first)
    assert len(policy.asked) == 10


async def test_an_acknowledgement_after_the_lease_lapsed_counts_while_nobody_else_has_the_group(tmp_path: Path) -> None:
    """A late trainer used its group after all: it is not delivered again."""
    clock = Clock()
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", ONCE)
        feed.clock = clock
        (late,) = await pulled(feed, 1, consumer="late")
        clock.now += 100.0
        assert await feed.acknowledge([late.lease_id], "late") == 1
        assert late.id not in {group.id for group in await pulled(feed, 4, consumer="other")}


async def test_an_acknowledgement_after_redelivery_is_refused_and_never_counted_twice(tmp_path: Path) -> None:
    """The group is its new holder's; what either says counts it once."""
    clock = Clock()
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        feed.clock = clock
        (late,) = await pulled(feed, 1, consumer="late")
        clock.now += 100.0
        (again,) = await pulled(feed, 1, consumer="other")
        assert again.id == late.id
        with pytest.raises(NotFoundError, match="pull the group again"):
            await feed.acknowledge([late.lease_id], "late")
        assert await feed.acknowledge([again.lease_id], "other") == 1
        assert await feed.acknowledge([again.lease_id], "other") == 1
        assert await feed.acknowledge([late.lease_id], "late") == 1


async def test_a_lease_of_another_consumer_is_refused(tmp_path: Path) -> None:
    """The error names both; an id that was never given is named too."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        (group,) = await pulled(feed, 1, consumer="a")
        with pytest.raises(NotFoundError, match="is held by consumer 'a', not 'b'"):
            await feed.acknowledge([group.lease_id], "b")
        with pytest.raises(NotFoundError, match="'nonsense' was never given"):
            await feed.acknowledge(["nonsense"], "a")


async def test_a_stream_of_an_earlier_session_ends(tmp_path: Path) -> None:
    """A trainer that was believed dead gets nothing once its successor has opened the feed."""
    policy = ScriptedPolicy()
    policy.gate.clear()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS, "a")
        zombie = asyncio.create_task(pulled(feed, 1, consumer="a"))
        await until(lambda: policy.running == 1)
        await feeds.open("f", "prompts.jsonl", SETTINGS, "a")
        with pytest.raises(FencedError, match="newer session of 'a'"):
            await zombie


async def test_a_broken_stream_gives_back_what_it_did_not_deliver(tmp_path: Path) -> None:
    """Of a batch that was leased at once only what was handed over stays with the consumer."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=5))
        await pulled(feed, 1, consumer="warm")
        await until(lambda: len(feed.ready) == 5)
        stream = feed.pull(Pull(3, consumer="breaks"))
        (delivered,) = await anext(stream)
        assert feed.tickets.holders() == {"warm": 1, "breaks": 3}
        await stream.aclose()
        assert feed.tickets.holders() == {"warm": 1, "breaks": 1}
        assert delivered.id not in {group.id for group in await pulled(feed, 3, consumer="other")}


async def test_generation_runs_ahead_up_to_its_bound(tmp_path: Path) -> None:
    """Nothing is made before the first pull; after it, `num_ahead` groups and no more wait for the next one."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=3))
        assert not policy.asked
        await pulled(feed, 2)
        await until(lambda: len(feed.ready) == 3)
        await asyncio.sleep(0.05)  # a sixth would come now
        assert (len(policy.asked), len(feed.sampling)) == (5, 0)


async def test_a_consumer_that_does_not_read_is_not_sampled_for(tmp_path: Path) -> None:
    """A stream for a million groups whose reader stands still: what is made is bounded by the slots."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy, num_slots=4) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        stream = feed.pull(Pull(1_000_000))
        await anext(stream)
        await until(lambda: not feed.sampling)
        await asyncio.sleep(0.05)  # more would come now
        assert len(policy.asked) <= 8
        await stream.aclose()


async def test_a_consumer_has_no_more_than_it_may_hold(tmp_path: Path) -> None:
    """The stream pauses at `max_unacknowledged` groups, and goes on when one is acknowledged."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        stream = feed.pull(Pull(3, consumer="a", max_unacknowledged=2))
        held = [*await anext(stream), *await anext(stream)]
        third = asyncio.ensure_future(anext(stream))
        await pulled(feed, 2, consumer="b")
        assert not third.done()
        await feed.acknowledge([held[0].lease_id], "a")
        assert (await third)[0].id not in {group.id for group in held}
        await stream.aclose()


async def test_two_streams_of_a_consumer_hold_no_more_than_it_may(tmp_path: Path) -> None:
    """While the lease of the first is being stored its groups count, and the second waits."""
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", FeedSettings(group_size=2, num_ahead=4))
        await pulled(feed, 1, consumer="warm")
        await until(lambda: len(feed.ready) == 4)
        pulls = [Pull(4, consumer="a", max_unacknowledged=2) for _ in range(2)]
        streams = [feed.pull(pull) for pull in pulls]
        async with feed.journal._lock:
            waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
            await until(lambda: len(pulls[0].claimed) == 2)
        await waiting[0]
        await feed.published(4)  # is stored after all that was to be stored before
        assert (feed.tickets.holders()["a"], waiting[1].done()) == (2, False)
        waiting[1].cancel()
        await asyncio.wait(waiting)
        for stream in streams:
            await stream.aclose()


async def test_one_that_fails_tells_all_who_wait_and_the_next_pull_works(tmp_path: Path) -> None:
    """Nobody waits for a group that will not come."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", SETTINGS)
        policy.gate.clear()
        waiting = [asyncio.create_task(pulled(feed, 1, consumer=name)) for name in "ab"]
        await until(lambda: policy.running == 2)
        feed._fail(UnavailableError("gone"))
        policy.gate.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in told] == ["gone", "gone"]
        assert len(await pulled(feed, 5)) == 5


@pytest.mark.parametrize("seed", range(3))
async def test_eight_consumers_one_slow_one_dying_lose_and_double_nothing(seed: int, tmp_path: Path) -> None:
    """Every prompt of three epochs is acknowledged once; the others are done although one reads nothing for long."""
    rng, clock = random.Random(seed), Clock()
    settings = FeedSettings(group_size=2, num_epochs=3, lease_seconds=100.0, num_ahead=4)
    used: list[str] = []
    async with service(tmp_path) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings)
        feed.clock = clock

        async def consume(name: str, stream: AsyncGenerator[list[Delivery]]) -> None:
            async for (group,) in stream:
                await asyncio.sleep(rng.random() / 1000)
                await feed.acknowledge([group.lease_id], name)
                used.append(group.id)

        def opened(name: str) -> AsyncGenerator[list[Delivery]]:
            return feed.pull(Pull(100, consumer=name, max_unacknowledged=2))

        slow, dying = opened("slow"), feed.pull(Pull(2, consumer="dying"))
        (first,) = await anext(slow)
        for _ in range(2):
            await anext(dying)
        await dying.aclose()
        workers = [asyncio.create_task(consume(name, opened(name))) for name in "abcdef"]
        held = feed.tickets.holders()
        await until(lambda: len(used) == 15 - held["slow"] - held["dying"])  # nothing else is left to be done
        await feed.acknowledge([first.lease_id], "slow")
        used.append(first.id)
        workers.append(asyncio.create_task(consume("slow", slow)))
        await until(lambda: feed.tickets.holders() == {"dying": 2})
        clock.now += 100.0
        await asyncio.wait_for(asyncio.gather(*workers), 60)
        assert feed.tickets.ended
    assert sorted(used) == [f"{epoch:04d}-{place:07d}" for epoch in range(3) for place in range(5)]
