"""What concerns the weights concerns every replica."""

from __future__ import annotations

import asyncio

import pytest
from wire_replicas import Names, Replica, serving, until

from retrograde.runtime.errors import ConflictError, InvalidInputError, UnavailableError
from retrograde.wire.clients import InferenceClient, Model


@pytest.mark.parametrize(
    ("versions", "asked", "loaded"),
    [((3,), 0, 4), ((3, 3, 3), 0, 4), ((3, 5, 4), 0, 6), ((3, 3), 9, 9)],
)
async def test_weights_reach_all_replicas_under_one_version(versions: tuple[int, ...], asked: int, loaded: int) -> None:
    """0 is the next version of all, also after a publication that reached some only; the longest gap is told."""
    replicas = [Replica(version) for version in versions]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        assert await client.load_weights("step-1", asked) == (loaded, float(loaded))
    assert {(each.checkpoint_key, each.version) for each in replicas} == {("step-1", loaded)}


async def test_a_replica_that_cannot_load_fails_the_whole_and_is_named() -> None:
    """The error has the failed replica's class and text, its address, and who has the weights; again, all agree."""
    replicas = [Replica(), Replica(), Replica()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        replicas[1].error = InvalidInputError("checkpoint: tensor lm_head is missing")
        first, third = sorted((replicas[0].address, replicas[2].address))
        second = replicas[1].address
        text = f"{second}: checkpoint: tensor lm_head is missing; done by: {first}, {third}"
        with pytest.raises(InvalidInputError, match=text):
            await client.load_weights("step-1")
        replicas[1].error = None
        assert (await client.load_weights("step-1"))[0] == 3
    assert {(each.checkpoint_key, each.version) for each in replicas} == {("step-1", 3)}


async def test_a_replica_that_is_away_fails_the_whole_and_is_named() -> None:
    """Weights that only some replicas would get are not published: UnavailableError after the patience."""
    replicas = [Replica(), Replica()]
    async with serving(*replicas) as address:
        await replicas[0].stop()
        async with InferenceClient(address, patience_seconds=0.2) as client:
            with pytest.raises(UnavailableError, match=f"{replicas[0].address}: .*done by: {replicas[1].address}"):
                await client.load_weights("step-1", 2)


async def test_a_replica_that_leaves_is_not_waited_for() -> None:
    """A dead replica holds the weights up until its name no longer has it."""
    dead, alive = Replica(), Replica()
    async with serving(dead, alive):
        await dead.stop()
        names = Names(dead.address, alive.address)
        async with InferenceClient("dns:///pool:1", resolve=names, resolve_seconds=0.01) as client:
            load = asyncio.create_task(client.load_weights("step-1", 2))
            await until(lambda: alive.version == 2)
            names.addresses = (alive.address,)
            assert await asyncio.wait_for(load, 60) == (2, 2.0)


async def test_a_replica_that_joins_meanwhile_gets_the_weights() -> None:
    """One that is found while another loads is loaded too before the call returns."""
    old, new = Replica(), Replica()
    async with serving(old, new):
        names = Names(old.address)
        async with InferenceClient("dns:///pool:1", resolve=names, resolve_seconds=0.01) as client:
            old.held.clear()
            load = asyncio.create_task(client.load_weights("step-1", 2))
            await until(lambda: old.asked == ["step-1"])
            names.addresses = (old.address, new.address)
            await until(lambda: client.num_replicas == 2)
            old.held.set()
            assert await asyncio.wait_for(load, 60) == (2, 2.0)
    assert (new.checkpoint_key, new.version) == ("step-1", 2)


async def test_one_replica_fails_in_its_own_words() -> None:
    """With one replica the error is the service's."""
    replica = Replica()
    replica.error = ConflictError("policy_version: 1 is not newer than 1")
    async with serving(replica) as address, InferenceClient(address) as client:
        with pytest.raises(ConflictError, match=r"^policy_version: 1 is not newer than 1$"):
            await client.load_weights("step-1", 1)


async def test_replicas_that_answer_different_versions_are_a_conflict() -> None:
    """A publication that met another one says which replica serves what."""

    class Stubborn(Replica):
        async def LoadWeights(self, request: object, _context: object) -> object:
            return type(await super().LoadWeights(request, _context))(policy_version=77)  # type: ignore[arg-type]

    replicas = [Replica(), Stubborn()]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        with pytest.raises(ConflictError, match=f"(?=.*'{replicas[0].address}': 2)(?=.*'{replicas[1].address}': 77)"):
            await client.load_weights("step-1", 2)


async def test_the_model_of_replicas_that_agree_and_that_do_not() -> None:
    """Loads add up and the least length counts; where versions differ there is no checkpoint, and the oldest counts."""
    replicas = [Replica(2), Replica(2)]
    async with serving(*replicas) as address, InferenceClient(address) as client:
        assert await client.get_model() == Model("base", 2, 102, 4, 2)
        replicas[1].version = 1
        assert await client.get_model() == Model("", 1, 101, 4, 2)
