"""The stream as its consumers see it: a service process, real channels, consumers that stand still or are killed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.errors import NotFoundError
from retrograde.wire.clients import RolloutsClient
from services.rollouts.settings import FeedSettings
from services.rollouts.tickets import Ticket
from tests.integration.rollouts.rollouts_world import NUM_PROMPTS, PROMPTS, World, standing_consumer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = 1_000_000
PATIENCE_SECONDS = 120
LONG = FeedSettings(group_size=2, lease_seconds=3600.0, num_epochs=3, num_ahead=4)
AHEAD = LONG.model_copy(update={"num_ahead": 60})
SHORT = LONG.model_copy(update={"lease_seconds": 2.0, "num_epochs": 1})
# When it is measured first, 8 groups are sampled, 4 ahead, 4 MiB kept and 8 streams have a group and a window: that
# is all that there may be. Of what is delivered afterwards, 50 MiB or more, nothing stays.
MOST_GROWTH_BYTES = 32 << 20


@dataclass
class Consumers:
    """Whose groups are acknowledged as they come; keeps what happened, in order."""

    feed: str
    delivered: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    async def use(self, client: RolloutsClient, name: str, groups: AsyncIterator[RolloutGroup]) -> None:
        """To the end of the stream. A lease that lapsed meanwhile is left to whoever has the group next."""
        async for group in groups:
            self.delivered.append(group.id)
            self.doubled += [group.id] if group.id in self.acknowledged else []
            with contextlib.suppress(NotFoundError):
                await client.ack(self.feed, [group.lease_id], consumer=name)
                self.acknowledged.append(group.id)


def every_ticket(settings: FeedSettings) -> list[str]:
    """The id of each prompt of each epoch."""
    return [Ticket(epoch, place).id for epoch in range(settings.num_epochs) for place in range(NUM_PROMPTS)]


async def opened(client: RolloutsClient, feed: str, settings: FeedSettings, *names: str) -> None:
    for name in names:
        await client.open_feed(feed, PROMPTS, settings.model_dump_json(), consumer=name)


async def until(condition: Callable[[], bool], pause_seconds: float = 0.02) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(pause_seconds)


async def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """What it printed, waited for."""
    assert process.stdout is not None
    return [(await asyncio.to_thread(process.stdout.readline)).strip() for _ in range(count)]


async def test_eight_consumers_of_which_one_stands_still_and_one_is_killed(world: World) -> None:
    """Every prompt of three epochs is used once; the six go on beside the other two; the service stays small.

    What the killed one holds comes back with its successor's session; the slow one gets what it holds when it reads on;
    nothing is delivered after its acknowledgement.
    """
    used, names, resident = Consumers("eight"), [*"abcdef", "slow"], [0]
    async with contextlib.AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(RolloutsClient(world.address)) for name in names}
        await opened(clients["slow"], "eight", LONG, *names, "killed")
        killed = stack.enter_context(standing_consumer(world, "eight", "killed", "3", "3"))
        lost = await lines(killed, 3)
        streams = {name: clients[name].pull("eight", ALL, consumer=name) for name in names}
        first = await anext(streams["slow"])
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for name in "abcdef":
            tasks.create_task(used.use(clients[name], name, streams[name]))
        await until(lambda: len(used.acknowledged) > NUM_PROMPTS // 2)
        killed.kill()
        before = world.resident_bytes

        def only_two_hold_any() -> bool:
            resident.append(world.resident_bytes)
            tickets = world.tickets("eight", LONG)
            is_all = tickets.num_acknowledged + len(tickets.leases) == len(every_ticket(LONG))
            return is_all and tickets.holders().keys() == {"slow", "killed"}

        await until(only_two_hold_any, pause_seconds=0.2)
        assert set(used.delivered).isdisjoint([*lost, first.id])
        await clients["slow"].ack("eight", [first.lease_id], consumer="slow")
        tasks.create_task(used.use(clients["slow"], "slow", streams["slow"]))
        await opened(clients["a"], "eight", LONG, "killed")
    assert used.doubled == []
    assert sorted([*used.acknowledged, first.id]) == every_ticket(LONG)
    assert sorted([*used.delivered, first.id]) == every_ticket(LONG)
    assert max(resident) - before < MOST_GROWTH_BYTES
    tickets = world.tickets("eight", LONG)
    assert (tickets.ended, tickets.num_acknowledged, tickets.leases) == (True, len(every_ticket(LONG)), {})


async def test_what_a_killed_consumer_was_not_sent_is_free_at_once(world: World, client: RolloutsClient) -> None:
    """Of a lease that its connection did not take, the rest needs no lapse; what was sent waits for its successor."""
    await opened(client, "unread", AHEAD, "warm", "killed")
    before = world.verifier.num_groups
    await anext(client.pull("unread", 1, consumer="warm"))
    await until(lambda: world.verifier.num_groups == before + 1 + AHEAD.num_ahead)
    with standing_consumer(world, "unread", "killed", "1", "0") as killed:
        (read,) = await lines(killed, 1)
        held = world.tickets("unread", AHEAD).holders()["killed"]
        killed.kill()
        await until(lambda: world.tickets("unread", AHEAD).holders()["killed"] < held)
    assert read in {ticket.id for ticket in world.tickets("unread", AHEAD).leases}


async def test_leases_of_a_killed_consumer_lapse(world: World, client: RolloutsClient) -> None:
    """Without a successor, what it read comes to another after `lease_seconds`."""
    await opened(client, "lapse", SHORT, "killed", "other")
    used = Consumers("lapse")
    with standing_consumer(world, "lapse", "killed", "3", "3") as killed:
        lost = await lines(killed, 3)
        killed.kill()
        await used.use(client, "other", client.pull("lapse", ALL, consumer="other"))
    assert set(lost) <= set(used.delivered)
    assert world.tickets("lapse", SHORT).num_acknowledged == NUM_PROMPTS
    assert used.doubled == []


async def test_several_feeds_are_used_up_side_by_side(world: World, client: RolloutsClient) -> None:
    """Two consumers of each of three feeds: each feed's prompts are used once, and no lease counts in another feed."""
    once = LONG.model_copy(update={"num_epochs": 1})
    feeds = [Consumers(f"side-{number}") for number in range(3)]
    async with asyncio.TaskGroup() as tasks:
        for used in feeds:
            await opened(client, used.feed, once, "a", "b")
            for name in "ab":
                tasks.create_task(used.use(client, name, client.pull(used.feed, ALL, consumer=name)))
    for used in feeds:
        assert sorted(used.acknowledged) == every_ticket(once)
        assert world.tickets(used.feed, once).num_acknowledged == NUM_PROMPTS


async def test_a_lease_of_one_feed_is_refused_by_another(client: RolloutsClient) -> None:
    """Ids of groups are the same in all feeds, and leases are not."""
    await opened(client, "mine", LONG, "a")
    await opened(client, "theirs", LONG, "a")
    groups = [await anext(client.pull(feed, 1, consumer="a")) for feed in ("mine", "theirs")]
    assert groups[0].id == groups[1].id
    with pytest.raises(NotFoundError, match="has lapsed or was never given"):
        await client.ack("theirs", [groups[0].lease_id], consumer="a")
