"""Calls to several replicas that fail in the ways replicas do: nothing is lost, nothing mixed up."""

from __future__ import annotations

import asyncio
import re

import grpc
import pytest
from wire_replicas import OVERLOADED, Names, Replica, ask, in_order, serving, until

from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime import tracing
from retrograde.runtime.errors import (
    InvalidInputError,
    OtherPolicyError,
    OverloadedError,
    RateLimitedError,
    RetrogradeError,
    StalePolicyError,
    UnavailableError,
)
from retrograde.wire.clients import InferenceClient
from retrograde.wire.routing import Spill

NO_SPILL = Spill(floor=10_000)


async def test_a_tree_meets_one_replica_and_trees_meet_all() -> None:
    """Calls under one key are answered by the same replica, those of 40 keys by each of three."""
    replicas = [Replica() for _ in range(3)]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        met = {key: {await ask(client, f"call {call}", key=key) for call in range(3)} for key in map(str, range(40))}
    assert {len(addresses) for addresses in met.values()} == {1}
    assert {address for addresses in met.values() for address in addresses} == {each.address for each in replicas}


async def test_the_key_is_the_prompt_by_default() -> None:
    """Calls that begin the answer to one prompt differently meet the replica that has the prompt."""
    replicas = [Replica() for _ in range(4)]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        for begun in ("", "one step\n", "two\nsteps\n"):
            await client.generate(Prompt("the problem", begun=begun), Sampling(max_tokens=8))
        home = in_order("the problem", replicas)[0]
    assert home.asked == ["the problem"] * 3


async def test_a_replica_killed_in_the_middle_of_calls_loses_none() -> None:
    """Calls that break off are answered by the other replica."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address, spill=NO_SPILL) as client:
        home, other = in_order("tree", replicas)
        home.held.clear()
        calls = [asyncio.create_task(ask(client, str(number), key="tree")) for number in range(20)]
        await until(lambda: len(home.asked) == 20)
        await home.stop()
        assert await asyncio.gather(*calls) == [other.address] * 20
        assert sorted(other.answered) == sorted(map(str, range(20)))


async def test_a_draining_replica_loses_nothing_and_does_nothing_twice() -> None:
    """It answers the calls it has; new ones go to the other; each is answered once."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address, spill=NO_SPILL) as client:
        home, other = in_order("tree", replicas)
        home.held.clear()
        old = [asyncio.create_task(ask(client, f"old {number}", key="tree")) for number in range(10)]
        await until(lambda: len(home.asked) == 10)
        await home.drain()
        assert [await ask(client, f"new {number}", key="tree") for number in range(5)] == [other.address] * 5
        home.held.set()
        assert await asyncio.gather(*old) == [home.address] * 10
    assert sorted(home.answered) == [f"old {number}" for number in range(10)]
    assert other.answered == [f"new {number}" for number in range(5)]


async def test_a_replica_that_answers_slowly_passes_calls_on() -> None:
    """With more samples in flight than the bound, a key's calls go to its second replica; then home again."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address, spill=Spill(factor=1.0, floor=4)) as client:
        home, other = in_order("tree", replicas)
        home.held.clear()
        slow = [asyncio.create_task(ask(client, str(number), key="tree")) for number in range(2)]
        await until(lambda: len(home.asked) == 2)
        assert await ask(client, "passed on", key="tree") == other.address
        home.held.set()
        await asyncio.gather(*slow)
        assert await ask(client, "home", key="tree") == home.address


async def test_a_replica_that_comes_back_is_taken_back() -> None:
    """Killed and started again at its address it answers its keys again, without a call spent on trying."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        home, other = in_order("tree", replicas)
        await home.stop()
        assert await ask(client, "away", key="tree") == other.address
        await home.start()
        await until(lambda: not client._replicas._routes.num_aside)
        assert await ask(client, "back", key="tree") == home.address
    assert home.asked == ["back"]


async def test_a_replica_that_says_it_is_not_well_gets_no_calls() -> None:
    """Put aside it is asked for its health again and again, and called only once that is good."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        home, other = in_order("tree", replicas)
        await home.say(well=False)
        home.error = UnavailableError("no engine")
        assert await ask(client, "first", key="tree") == other.address
        await until(lambda: home.health.num_checks > 2)
        assert await ask(client, "second", key="tree") == other.address
        home.error = None
        await home.say(well=True)
        await until(lambda: not client._replicas._routes.num_aside)
        assert await ask(client, "third", key="tree") == home.address
    assert home.asked == ["first", "third"]


async def test_a_call_waits_for_the_only_replica() -> None:
    """While none is there a call waits, and is answered once one is."""
    replica = Replica()
    async with serving(replica) as address, InferenceClient(address) as client:
        await replica.stop()
        call = asyncio.create_task(ask(client, "patient"))
        await until(lambda: client._replicas._routes.num_aside == 1)
        await replica.start()
        assert await asyncio.wait_for(call, 60) == replica.address


async def test_when_all_are_down_each_is_named_with_its_error() -> None:
    """After the patience UnavailableError names every address and what was met there."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address:
        for replica in replicas:
            await replica.stop()
        async with InferenceClient(address, patience_seconds=0.3) as client:
            with pytest.raises(UnavailableError, match=f"no replica of {address} answers: ") as failed:
                await ask(client, "anyone?")
    told = str(failed.value).partition(" answers: ")[2]
    assert re.fullmatch("; ".join(f"{re.escape(each.address)}: .*[Cc]onnect.*" for each in replicas), told)


async def test_patience_ends_for_a_replica_that_is_well_but_refuses() -> None:
    """A replica whose health is good and whose calls fail does not hold a call for ever."""
    replica = Replica()
    replica.error = UnavailableError("the engine is away")
    async with serving(replica) as address, InferenceClient(address, patience_seconds=1) as client:
        with pytest.raises(UnavailableError, match="the engine is away"):
            await asyncio.wait_for(ask(client, "x"), 60)
    assert len(replica.asked) > 1


async def test_a_call_ends_with_its_deadline_and_is_not_sent_again() -> None:
    """No answer by the deadline is UnavailableError; the other replica is not asked when no time is left."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address, deadline_seconds=0.3) as client:
        home, other = in_order("tree", replicas)
        home.held.clear()
        with pytest.raises(UnavailableError, match=r"[Dd]eadline"):
            await ask(client, "slow", key="tree")
    assert other.asked == []


async def test_a_call_waits_no_longer_than_its_deadline() -> None:
    """Where no replica is there and patience is longer, the deadline ends the call."""
    client = InferenceClient("127.0.0.1:9", patience_seconds=300, deadline_seconds=0.5)
    async with client, asyncio.timeout(60):
        with pytest.raises(UnavailableError):
            await client.generate(Prompt("x"), Sampling(max_tokens=8))


async def test_a_newer_replica_refuses_a_pinned_tree_and_the_older_answers() -> None:
    """A tree begun under version 4 goes on there while another replica serves 5 already, wherever its key lies."""
    replicas = [Replica(version=5), Replica(version=4)]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        answers = {await ask(client, "x", key=str(key), policy_version=4) for key in range(20)}
    assert answers == {replicas[1].address}
    assert replicas[0].asked
    assert replicas[0].answered == []


async def test_a_pinned_version_that_nobody_serves_any_more_is_an_error() -> None:
    """When every replica is newer the tree is to begin again, and the error says so by its class."""
    async with serving(Replica(version=5), Replica(version=6)) as address, InferenceClient(address) as client:
        with pytest.raises(OtherPolicyError, match=r"4 was asked for and [56] is served"):
            await ask(client, "x", policy_version=4)


async def test_an_older_replica_refuses_and_the_next_answers() -> None:
    """A tree begun under version 5 is answered by the replica that serves it, wherever its key lies."""
    replicas = [Replica(version=5), Replica(version=4)]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        answers = {await ask(client, "x", key=str(key), policy_version=5) for key in range(20)}
    assert answers == {replicas[0].address}
    assert replicas[1].asked
    assert replicas[1].answered == []


async def test_a_version_that_nobody_serves_is_stale() -> None:
    """When every replica is older each is asked once, and the refusal is raised."""
    replicas = [Replica(version=4), Replica(version=4)]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        with pytest.raises(StalePolicyError, match="4 is served"):
            await ask(client, "x", policy_version=5)
    assert [replica.asked for replica in replicas] == [["x"], ["x"]]


async def test_a_full_replica_s_calls_go_on() -> None:
    """RESOURCE_EXHAUSTED is answered by the next; when all are full for longer than patience it is OverloadedError."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address, patience_seconds=0.1) as client:
        home, other = in_order("tree", replicas)
        home.error = OVERLOADED
        assert await ask(client, "x", key="tree") == other.address
        other.error = OVERLOADED
        with pytest.raises(OverloadedError, match="full"):
            await ask(client, "y", key="tree")


async def test_an_overload_that_lasts_a_moment_is_waited_out() -> None:
    """When all are full a call waits as long as one of them asks, and is answered by the one that has room then."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        home, other = in_order("tree", replicas)
        home.error = OVERLOADED
        other.error = RateLimitedError("too many calls", retry_seconds=0.01)
        call = asyncio.create_task(ask(client, "x", key="tree"))
        await until(lambda: len(other.asked) > 1)
        home.error = None
        assert await call == home.address


async def test_a_call_ended_from_the_other_side_goes_on() -> None:
    """CANCELLED by a server or something between, not by the caller, is answered by the next."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        home, other = in_order("tree", replicas)
        home.error = RetrogradeError("the stream was reset")
        home.error.code = grpc.StatusCode.CANCELLED
        assert await ask(client, "x", key="tree") == other.address


async def test_a_fault_of_the_request_is_not_sent_to_others() -> None:
    """INVALID_ARGUMENT is the caller's at the first answer."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        home, other = in_order("tree", replicas)
        home.error = InvalidInputError("prompt: it has no tokens; send at least one")
        with pytest.raises(InvalidInputError, match="it has no tokens"):
            await ask(client, "", key="tree")
    assert other.asked == []


async def test_all_attempts_of_a_call_carry_the_same_ids() -> None:
    """The replica that refused and the one that answered log one request id, the caller's."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        home, other = in_order("tree", replicas)
        home.error = OVERLOADED
        with tracing.bound(tracing.trace_of({"x-request-id": "r-1"})):
            await ask(client, "x", key="tree")
    assert home.request_ids + other.request_ids == ["r-1", "r-1"]


async def test_an_address_that_joins_its_name_gets_its_keys() -> None:
    """A name is asked again; calls of a new replica's keys go there, those of others stay."""
    old, new = Replica(), Replica()
    async with serving(old, new):
        names = Names(old.address)
        async with InferenceClient("dns:///pool:1", resolve=names, resolve_seconds=0.01) as client:
            assert {await ask(client, "x", key=str(key)) for key in range(20)} == {old.address}
            names.addresses = (old.address, new.address)
            await until(lambda: client.num_replicas == 2)
            met = [await ask(client, "x", key=str(key)) for key in range(20)]
            assert met == [in_order(str(key), [old, new])[0].address for key in range(20)]
    assert new.answered


async def test_an_address_that_leaves_its_name_answers_what_it_has() -> None:
    """A call in flight at a replica that leaves is answered by it, and its channel is closed only then."""
    home, other = Replica(), Replica()
    async with serving(home, other):
        names = Names(home.address)
        async with InferenceClient("dns:///pool:1", resolve=names, resolve_seconds=0.01) as client:
            home.held.clear()
            call = asyncio.create_task(ask(client, "old"))
            await until(lambda: home.asked == ["old"])
            names.addresses = (other.address,)
            await until(lambda: client._replicas.addresses == (other.address,))
            assert await ask(client, "new") == other.address
            assert home.address in client._replicas._channels
            home.held.set()
            assert await call == home.address
            assert list(client._replicas._channels) == [other.address]


async def test_a_name_that_is_not_known_keeps_what_it_had_and_is_waited_for() -> None:
    """A call waits until its name is known; once it was, losing the name loses no replica."""
    replica = Replica()
    async with serving(replica):
        names = Names()
        async with InferenceClient("dns:///pool:1", resolve=names, resolve_seconds=0.01) as client:
            call = asyncio.create_task(ask(client, "early"))
            await asyncio.sleep(0)
            names.addresses = (replica.address,)
            assert await asyncio.wait_for(call, 60) == replica.address
            names.addresses = ()
            await asyncio.sleep(0.05)
            assert await ask(client, "later") == replica.address


async def test_a_name_that_stays_unknown_is_told() -> None:
    """Without any address UnavailableError says so after the patience."""
    async with InferenceClient("dns:///pool:1", resolve=Names(), patience_seconds=0.1) as client:
        with pytest.raises(UnavailableError, match="no replica of dns:///pool:1 answers: no address"):
            await ask(client, "x")


async def test_a_name_of_this_machine_is_resolved() -> None:
    """The resolver of the system finds the replica behind localhost."""
    replica = Replica()
    async with serving(replica):
        port = replica.address.rpartition(":")[2]
        async with InferenceClient(f"dns:///localhost:{port}") as client:
            assert await ask(client, "x") == replica.address


async def test_a_client_that_is_not_open_says_so() -> None:
    """Asking before `async with` is an error that tells how to use it, never a wait."""
    with pytest.raises(RuntimeError, match=r"the client of 127\.0\.0\.1:1 is not open; use it as `async with Infer"):
        await InferenceClient("127.0.0.1:1").get_model()
