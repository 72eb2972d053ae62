"""What runs while new weights are published through a feed, and what versions its samples say they are of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from retrograde.core.policy import InFlight
from retrograde.core.rollout import RolloutGroup
from retrograde.wire.clients import RolloutsClient
from services.rollouts.settings import FeedSettings
from tests.integration.rollouts.rollouts_world import PROMPTS, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUM_IN_FLIGHT = 3
PATIENCE_SECONDS = 60
SETTINGS = FeedSettings(group_size=2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def pulled(client: RolloutsClient, feed: str) -> list[RolloutGroup]:
    return [group async for group in client.pull(feed, NUM_IN_FLIGHT)]


async def delivered_over_a_swap(world: World, client: RolloutsClient, key: str, in_flight: InFlight) -> set[object]:
    """(drawn under, versions of samples, version of the group) of all whose requests ran when `key` was published."""
    await client.open_feed(in_flight.value, PROMPTS, SETTINGS.model_dump_json())
    world.engine.may_answer.clear()
    async with asyncio.TaskGroup() as tasks:
        pulling = tasks.create_task(pulled(client, in_flight.value))
        await until(lambda: world.engine.running == NUM_IN_FLIGHT)
        publishing = tasks.create_task(client.publish_policy(in_flight.value, key, in_flight=in_flight))
        if in_flight is InFlight.FINISH:
            await until(lambda: not world.server.gate._open.is_set())
            assert not publishing.done()
        else:
            await publishing
        world.engine.may_answer.set()
    return {
        (sample.text, sample.policy_versions, group.policy_version)
        for group in pulling.result()
        for sample in group.samples
    }


async def test_requests_finish_before_the_swap(world: World, client: RolloutsClient) -> None:
    """Their groups are of the old policy, all through; the next one is of the new."""
    old, version = world.engine.loaded.name, world.server.policy_version
    assert await delivered_over_a_swap(world, client, "one", InFlight.FINISH) == {(old, (version, version), version)}
    (group,) = [group async for group in client.pull("finish", 1)]
    assert (group.samples[0].text, group.policy_version) == (world.name_of("one"), version + 1)


async def test_requests_continue_under_the_new_weights(world: World, client: RolloutsClient) -> None:
    """A sample drawn under two policies says so: its first and last version are theirs, its group's is the older."""
    old, version = world.engine.loaded.name, world.server.policy_version
    under = f"{old}>{world.name_of('two')}"
    delivered = await delivered_over_a_swap(world, client, "two", InFlight.CONTINUE)
    assert delivered == {(under, (version, version + 1), version)}


async def test_requests_begin_again_under_the_new_weights(world: World, client: RolloutsClient) -> None:
    """Nothing of the old policy is delivered, and nobody is told of the interruption."""
    version = world.server.policy_version
    delivered = await delivered_over_a_swap(world, client, "three", InFlight.BEGIN_AGAIN)
    assert delivered == {(world.name_of("three"), (version + 1, version + 1), version + 1)}
