"""What is too old is not delivered, by the feed's setting; what that does to lengths can be read off the metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest
from prometheus_client import REGISTRY

from retrograde.core.policy import Generation, Prompt, Sampling
from retrograde.runtime.errors import UnavailableError
from services.rollouts.feed import Feed
from services.rollouts.pulls import Pull
from services.rollouts.settings import FeedSettings
from tests.unit.rollouts.rollouts_fakes import ScriptedPolicy, leases, pulled, service, until


def settings(stale: Literal["regenerate", "drop", "deliver"], num_ahead: int = 5) -> FeedSettings:
    return FeedSettings(group_size=2, num_epochs=1, num_ahead=num_ahead, max_policy_lag=1, stale=stale)


async def publish(feed: Feed, policy: ScriptedPolicy, version: int) -> None:
    policy.version = version
    await feed.published(version)


async def two_versions_late(feed: Feed, policy: ScriptedPolicy) -> None:
    """One group is delivered, four are ready under version 3; then 4 and 5 are published."""
    assert [group.id for group in await pulled(feed, 1)] == ["0000-0000000"]
    await until(lambda: len(feed.ready) == 4)
    await publish(feed, policy, 4)
    assert len(feed.ready) == 4  # one version late is within the lag
    await publish(feed, policy, 5)


async def test_stale_groups_are_sampled_again(tmp_path: Path) -> None:
    """With `regenerate` every prompt is delivered, under a policy within the lag."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("regenerate"))
        await two_versions_late(feed, policy)
        groups = await pulled(feed, 4)
    assert sorted(group.id for group in groups) == [f"0000-000000{place}" for place in range(1, 5)]
    assert {group.policy_version for group in groups} == {5}
    assert feed.tickets.dropped == {}


async def test_stale_groups_are_dropped_and_the_ledger_says_so(tmp_path: Path) -> None:
    """With `drop` their prompts count as used, also after a restart; the feed ends without them."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("drop"))
        await two_versions_late(feed, policy)
        await until(lambda: feed.tickets.dropped == {"stale": 4})
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.get("f")
        assert feed.tickets.dropped == {"stale": 4}
        assert not feed.tickets.ended  # one is leased


async def test_stale_groups_are_delivered_where_the_trainer_corrects_for_them(tmp_path: Path) -> None:
    """With `deliver` nothing is lost; versions tell how old a group is."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("deliver"))
        await two_versions_late(feed, policy)
        assert [group.policy_version for group in await pulled(feed, 4)] == [3] * 4


@pytest.mark.parametrize(("stale", "dropped"), [("regenerate", {}), ("drop", {"stale": 1})])
async def test_a_group_that_grows_stale_as_it_is_leased_is_not_delivered(
    tmp_path: Path, stale: Literal["regenerate", "drop"], dropped: dict[str, int]
) -> None:
    """It was claimed while the next version was being noted: what comes is of that version."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        on_policy = settings(stale, num_ahead=1).model_copy(update={"max_policy_lag": 0})
        feed = await feeds.open("f", "prompts.jsonl", on_policy)
        await pulled(feed, 1)
        await until(lambda: len(feed.ready) == 1)
        async with feed.journal._lock:
            publishing = asyncio.create_task(publish(feed, policy, 4))
            await until(lambda: feed.maker.newest_version == 4)
            await asyncio.sleep(0)  # it stands first in line for the ledger
            stream = feed.pull(pull := Pull(1))
            pulling = asyncio.ensure_future(anext(stream))
            await until(lambda: bool(pull.claimed))
        await publishing
        (group,) = await pulling
        await stream.aclose()
        assert group.policy_version == 4
        await until(lambda: feed.tickets.dropped == dropped)


async def test_a_redelivered_group_is_held_to_the_lag_too(tmp_path: Path) -> None:
    """What comes back too old is sampled again and not delivered as it was."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("regenerate", num_ahead=0), "a")
        await pulled(feed, 2, consumer="a")
        for version in (4, 5, 6):
            await publish(feed, policy, version)
        await feed.begin_session("a")
        groups = await pulled(feed, 2, consumer="a")
    assert [(group.id, group.policy_version) for group in groups] == [("0000-0000000", 6), ("0000-0000001", 6)]


async def test_the_lag_is_known_after_a_restart(tmp_path: Path) -> None:
    """Versions that were published are in the ledger, each once."""
    policy = ScriptedPolicy()
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("regenerate"))
        for version in (4, 5, 5):
            await publish(feed, policy, version)
    async with service(tmp_path, policy) as feeds:
        assert (await feeds.get("f")).tickets.versions == [4, 5]


class SlowerTheLonger(ScriptedPolicy):
    """Publishes a version after each request for a long answer: who takes long is late."""

    feed: Feed

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        generation = await super().generate(prompt, sampling)
        if generation.completions[0].num_tokens > 2:
            await publish(self.feed, self, self.version + 1)
        return generation


@pytest.mark.parametrize(("stale", "is_biased"), [("drop", True), ("deliver", False)])
async def test_dropping_favours_short_answers_and_the_metric_shows_it(
    tmp_path: Path, stale: Literal["drop", "deliver"], *, is_biased: bool
) -> None:
    """Dropped, none of the long answers arrives: means of 2 and 40 tokens; delivered all, the mean is 21.

    Half of the answers have 40 tokens and outlast a version, half have 2.
    """
    policy = SlowerTheLonger(lengths=(2, 40))
    before = sums()
    described = FeedSettings(group_size=2, num_epochs=4, max_policy_lag=0, stale=stale)
    async with service(tmp_path, policy) as feeds:
        feed = policy.feed = await feeds.open("f", "prompts.jsonl", described)
        lengths = []
        while groups := await pulled(feed, 1):
            lengths += [len(sample.token_ids) for sample in groups[0].samples]
            await feed.acknowledge(leases(groups))
    means = {outcome: mean(after, before[outcome]) for outcome, after in sums().items() if after != before[outcome]}
    assert means == ({"delivered": 2.0, "stale": 40.0} if is_biased else {"delivered": 21.0})
    assert sum(lengths) / len(lengths) == means["delivered"]
    assert feed.tickets.num_acknowledged + feed.tickets.dropped["stale"] == 20


def sums() -> dict[str, tuple[float, float]]:
    """Tokens and samples so far, by outcome."""
    names = [f"retrograde_rollouts_sample_tokens_{part}" for part in ("sum", "count")]
    values = {
        outcome: [REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0.0 for name in names]
        for outcome in ("delivered", "stale")
    }
    return {outcome: (tokens, count) for outcome, (tokens, count) in values.items()}


def mean(after: tuple[float, float], before: tuple[float, float]) -> float:
    return (after[0] - before[0]) / (after[1] - before[1])


async def test_a_pull_for_weights_that_are_not_served_costs_the_others_one_group(tmp_path: Path) -> None:
    """However often it is tried: one is sampled again, the rest stays ready; that one tells what is served by then."""
    policy = ScriptedPolicy(version=3)
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("regenerate"))
        await pulled(feed, 1, consumer="a")
        await until(lambda: len(feed.ready) == 4)
        policy.gate.clear()
        policy.version = 5  # published through another feed
        for _ in range(3):
            with pytest.raises(UnavailableError, match="policy 3 is served; 5 was asked for"):
                await pulled(feed, 1, min_policy_version=5, consumer="b")
        assert len(feed.ready) == 3
        policy.gate.set()
        await until(lambda: len(feed.ready) == 4)
        assert [group.policy_version for group in await pulled(feed, 1, 5, consumer="b")] == [5]


async def test_weights_that_are_not_served_cost_one_group_where_more_are_ready_than_asked_for(tmp_path: Path) -> None:
    """Nothing would be sampled then, and each try would set another one aside."""
    policy = ScriptedPolicy(version=3)
    async with service(tmp_path, policy) as feeds:
        feed = await feeds.open("f", "prompts.jsonl", settings("regenerate"))
        await pulled(feed, 1, consumer="a")
        await until(lambda: len(feed.ready) == 4)
        feed.settings = feed.settings.model_copy(update={"num_ahead": 0})
        for _ in range(3):
            with pytest.raises(UnavailableError, match="policy 3 is served; 5 was asked for"):
                await pulled(feed, 1, min_policy_version=5, consumer="b")
            await until(lambda: not feed.sampling)
        assert len(feed.ready) == 4
