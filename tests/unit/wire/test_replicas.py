"""Replicas that come and go are counted as they are."""

from __future__ import annotations

import functools

from prometheus_client import REGISTRY
from wire_replicas import Names, Replica, ask, in_order, serving, until

from retrograde.runtime.errors import UnavailableError
from retrograde.wire.clients import InferenceClient


async def test_a_replica_that_leaves_its_name_while_aside_is_counted_back_once() -> None:
    """It is well again after its name has lost it, when its probe would ask: the gauge is what it was."""
    home, other = Replica(), Replica()
    gauge = functools.partial(REGISTRY.get_sample_value, "retrograde_routing_aside_replicas")
    async with serving(home, other):
        names, before = Names(home.address, other.address), gauge()
        async with InferenceClient("dns:///pool:1", resolve=names, resolve_seconds=3600) as client:
            home, other = in_order("tree", [home, other])
            home.error = UnavailableError("no engine")
            await home.say(well=False)
            await ask(client, "x", key="tree")
            assert gauge() == (before or 0) + 1
            names.addresses = (other.address,)
            await client._replicas._refresh()
            await home.say(well=True)
            await until(lambda: len(client._replicas._tasks) == 1)  # the one that resolves
            assert gauge() == before
