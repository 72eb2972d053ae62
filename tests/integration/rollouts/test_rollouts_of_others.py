"""Trainers that run elsewhere: over TLS, by certificate or token, to a service process, on connections that are cut."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from retrograde.core.rollout import RolloutGroup
from retrograde.interop.rollouts import Rollouts
from retrograde.runtime.errors import FencedError, PermissionDeniedError, UnauthenticatedError
from retrograde.runtime.tls import Identity
from services.rollouts.settings import FeedSettings
from services.rollouts.tickets import Ticket
from tests.certificates import Authority
from tests.integration.rollouts import rollouts_world
from tests.integration.rollouts.rollouts_world import NUM_PROMPTS, PROMPTS, World
from tests.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONCE = FeedSettings(group_size=2, lease_seconds=3600.0, num_epochs=1, num_ahead=8)
EVERY_TICKET = [Ticket(0, place).id for place in range(NUM_PROMPTS)]
CUT_AFTER_BYTES = 3 << 20  # some five groups
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Doors:
    """The service's two addresses, and what is shown there."""

    folder: Path
    address: str
    public_address: str

    def certificate(self, name: str) -> Identity:
        folder = self.folder / name
        return Identity(authority=folder / "ca.crt", certificate=folder / "tls.crt", key=folder / "tls.key")

    def token(self, word: str) -> Identity:
        file = self.folder / f"{word}.token"
        file.write_text(word)
        return Identity(authority=self.folder / "job" / "ca.crt", token=file)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """All of it with the identity of rollouts; there are identities of a job and a search, and the token "right"."""
    folder = tmp_path_factory.mktemp("others")
    authority = Authority(folder / "authority")
    tls = authority.issue(folder / "rollouts", "DNS:rollouts.retrograde")
    for name in ("job", "search"):
        authority.issue(folder / name, f"DNS:{name}.retrograde")
    tokens = folder / "tokens.yaml"
    tokens.write_text(f"alice: {hashlib.sha256(b'right').hexdigest()}\n")
    async with rollouts_world.world(folder, tls, tokens=str(tokens), public_port=-1) as world:
        yield world


@pytest.fixture
def doors(world: World) -> Doors:
    lines = (world.folder / "inference.log").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    (ready,) = [record for record in records if record["event"] == "ready"]
    return Doors(world.folder, ready["address"], ready["public_address"])


@pytest.fixture
def proxy(doors: Doors) -> Iterator[Proxy]:
    with Proxy(int(doors.address.rpartition(":")[2])) as proxy:
        yield proxy


async def drawn(rollouts: Rollouts, num_streams: int) -> list[RolloutGroup]:
    """The whole epoch, pulled over several streams at once."""
    pulls = [asyncio.wrap_future(rollouts.pull_soon(NUM_PROMPTS // num_streams)) for _ in range(num_streams)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [group for groups in await asyncio.gather(*pulls) for group in groups]


@pytest.mark.parametrize("num_streams", [1, 2])
async def test_a_cut_connection_costs_no_group(world: World, doors: Doors, proxy: Proxy, num_streams: int) -> None:
    """Every prompt comes once, at once: what was leased and never came waits for no lapse, which is an hour away."""
    feed = f"cut-{num_streams}"
    with Rollouts(f"127.0.0.1:{proxy.port}", feed, consumer="me", identity=doors.certificate("job")) as rollouts:
        await asyncio.to_thread(rollouts.open, PROMPTS, **ONCE.model_dump())
        proxy.down.cut(CUT_AFTER_BYTES)
        groups = await drawn(rollouts, num_streams)
        await asyncio.to_thread(rollouts.ack, groups)
    assert proxy.down.num_faults == 1
    assert sorted(group.id for group in groups) == EVERY_TICKET
    tickets = world.tickets(feed, ONCE)
    assert (tickets.num_acknowledged, tickets.leases) == (NUM_PROMPTS, {})


async def test_a_second_trainer_of_one_name_ends_the_first(world: World, doors: Doors) -> None:
    """The first does not open the feed again, which would end the second; that one is given everything."""
    job = doors.certificate("job")
    with (
        Rollouts(doors.address, "two", consumer="me", identity=job) as first,
        Rollouts(doors.address, "two", consumer="me", identity=job) as second,
    ):
        await asyncio.to_thread(first.open, PROMPTS, **ONCE.model_dump())
        waiting = [asyncio.wrap_future(first.pull_soon(NUM_PROMPTS)) for _ in range(2)]  # one too many
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(world.tickets("two", ONCE).leases) < NUM_PROMPTS:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(second.open, PROMPTS, **ONCE.model_dump())
            ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [FencedError] * 2
        assert sorted(group.id for group in await drawn(second, 1)) == EVERY_TICKET


async def test_a_refusal_ends_no_other_stream(world: World, doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    """While one pull asks in vain for weights that are not served, another of its trainer stays in its session."""
    settings = ONCE.model_copy(update={"num_ahead": 1})
    job = doors.certificate("job")
    with Rollouts(doors.address, "refused", consumer="me", identity=job, max_unacknowledged=1) as rollouts:
        await asyncio.to_thread(rollouts.open, PROMPTS, **settings.model_dump())
        (held,) = await asyncio.wrap_future(rollouts.pull_soon(1))
        waiting, refused = rollouts.pull_soon(1), rollouts.pull_soon(1, min_policy_version=99)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while caplog.messages.count("pull broke off") < 2:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(rollouts.ack, [held])
            (group,) = await asyncio.wrap_future(waiting)
        refused.cancel()
    assert group.id != held.id
    changes = [json.loads(world.store.get(key)) for key in world.store.list("refused/ledger/")]
    assert [event["event"] for events in changes for event in events].count("session") == 1


async def test_a_token_trains(world: World, doors: Doors) -> None:
    """At the public port it opens, pulls and acknowledges; it shows no certificate."""
    with Rollouts(doors.public_address, "token", consumer="me", identity=doors.token("right")) as rollouts:
        await asyncio.to_thread(rollouts.open, PROMPTS, **ONCE.model_dump())
        (group,) = await asyncio.wrap_future(rollouts.pull_soon(1))
        await asyncio.to_thread(rollouts.ack, [group])
    assert [ticket.id for ticket in world.tickets("token", ONCE).used] == [group.id]


async def test_a_wrong_token_is_told_what_to_do(doors: Doors) -> None:
    """At the first answer, and not once patience has ended."""
    with Rollouts(doors.public_address, "wrong", identity=doors.token("wrong")) as rollouts:
        with pytest.raises(UnauthenticatedError, match="nobody has this token; ask for one, or correct it"):
            await asyncio.to_thread(rollouts.open, PROMPTS)
        with pytest.raises(UnauthenticatedError, match="nobody has this token; ask for one, or correct it"):
            await asyncio.wrap_future(rollouts.pull_soon(1))


async def test_a_certificate_that_may_not_is_told_who_may(doors: Doors) -> None:
    """A search service's, say."""
    told = r"search\.retrograde may not call .*OpenFeed; job\.retrograde, trainer\.retrograde may"
    search = Rollouts(doors.address, "other", identity=doors.certificate("search"))
    with search as rollouts, pytest.raises(PermissionDeniedError, match=told):
        await asyncio.to_thread(rollouts.open, PROMPTS)
