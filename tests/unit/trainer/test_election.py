"""Of several trainers one leads; when it leaves or falls silent another does, and never two by their own clocks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from services.trainer.kubernetes.api import KubernetesApi
from services.trainer.kubernetes.election import LEADER, Election
from tests.unit.trainer.fake_api import FakeApi

LEASE = "/apis/coordination.k8s.io/v1/namespaces/lab/leases/trainer"
PODS = "/api/v1/namespaces/lab/pods"


class Clock:
    """Time that passes when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits_for: Callable[[], bool] = lambda: True

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """It moves on once what it waits for is so; others get their turn."""
        await asyncio.sleep(0.001)
        async with asyncio.timeout(60):
            while not self.waits_for():
                await asyncio.sleep(0.001)
        self.now += seconds


class Candidate:
    """A trainer that wants to lead."""

    def __init__(self, api: FakeApi, name: str, seconds: float) -> None:
        self.clock, self.drain, self.lost, self.led = Clock(), asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.election = Election(
            api=cast("KubernetesApi", api),
            namespace="lab",
            lease="trainer",
            identity=name,
            seconds=seconds,
            lost=self.lost.set,
            pod=name,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.task = asyncio.create_task(self._lead())

    async def _lead(self) -> None:
        async with self.election.won(self.drain) as leads:
            if leads:
                self.led.set()
                await self.drain.wait()

    async def leads(self) -> None:
        await asyncio.wait_for(self.led.wait(), 60)


@contextlib.asynccontextmanager
async def candidate(api: FakeApi, name: str, seconds: float = 15.0) -> AsyncIterator[Candidate]:
    each = Candidate(api, name, seconds)
    try:
        yield each
    finally:
        each.drain.set()
        await asyncio.wait_for(each.task, 60)


def holder(api: FakeApi) -> str:
    return str(api.objects[LEASE]["spec"]["holderIdentity"])


async def until_asked(api: FakeApi, num_calls: int) -> None:
    """Returns after so many more calls."""
    wanted = len(api.calls) + num_calls
    async with asyncio.timeout(60):
        while len(api.calls) < wanted:
            await asyncio.sleep(0.002)


async def test_a_standby_leads_once_the_leader_has_handed_on() -> None:
    """The second waits while the first renews, however long; when the first drains the lease is free at once."""
    api = FakeApi()
    async with candidate(api, "a") as first:
        await first.leads()
        async with candidate(api, "b") as second:
            second.clock.waits_for = lambda: first.clock.now >= second.clock.now or first.drain.is_set()
            async with asyncio.timeout(60):
                while second.clock.now < 200:  # more than six durations
                    await asyncio.sleep(0.002)
            assert (holder(api), second.led.is_set(), first.lost.is_set()) == ("a", False, False)
            first.drain.set()
            await second.leads()
            assert (holder(api), first.election.leads) == ("b", False)
    assert holder(api) == ""


async def test_a_trainer_that_may_not_label_its_pod_ends_when_told_to() -> None:
    """The right to pods is missing, or the API server away: that is waited for until it drains, no longer."""
    api = FakeApi()
    api.faults["patch"] = [UnavailableError("pods are forbidden")] * 1_000_000
    async with candidate(api, "a") as only:
        await until_asked(api, 3)
        assert not only.led.is_set()


async def test_a_silent_leader_is_replaced_after_its_duration() -> None:
    """A lease of a holder that died is taken by the observer's own clock, not by the times written in it."""
    api = FakeApi()
    spec = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2999-01-01T00:00:00.000000Z"}
    api.add(LEASE.rpartition("/")[0], {"metadata": {"name": "trainer"}, "spec": spec})
    async with candidate(api, "b") as second:
        await second.leads()
        assert 115 <= second.clock.now <= 121
        assert holder(api) == "b"


async def test_a_leader_without_an_api_server_gives_up_before_others_take_over() -> None:
    """It is lost within the duration of the lease, counted from its last renewal; until then it leads."""
    api = FakeApi()
    async with candidate(api, "a") as first:
        await first.leads()
        api.faults["get"] = [UnavailableError("away")] * 2
        await until_asked(api, 4)
        assert (first.lost.is_set(), first.election.leads) == (False, True)
        api.faults["get"] = [UnavailableError("away")] * 1000
        began = first.clock.now
        await asyncio.wait_for(first.lost.wait(), 60)
        assert first.clock.now - began <= 15
        assert not first.election.leads


async def test_a_leader_whose_call_is_not_answered_does_not_wait_for_it() -> None:
    """Its time is over while the call is under way: it is lost then, not when the call ends."""
    api = Hangs()
    async with candidate(api, "a", seconds=0.3) as first:
        await first.leads()
        first.clock.waits_for = api.hangs.is_set  # no renewal before
        api.hangs.set()
        try:
            await asyncio.wait_for(first.lost.wait(), 60)
            assert not api.answers.is_set()
        finally:
            api.answers.set()


class Hangs(FakeApi):
    """It answers at once until it `hangs`, and then once it `answers`."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs, self.answers = threading.Event(), threading.Event()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        if self.hangs.is_set():
            self.answers.wait(60)
        return super().get(path, **query)


@pytest.mark.parametrize(
    "error", [NotFoundError("deleted meanwhile"), InvalidInputError("no such lease"), ValueError("a proxy's HTML")]
)
async def test_a_leader_tries_again_whatever_it_is_answered(error: Exception) -> None:
    """An answer that nobody foresaw does not end the renewals."""
    api = FakeApi()
    async with candidate(api, "a") as first:
        await first.leads()
        api.faults["replace"] = [error]
        await until_asked(api, 8)
        assert (api.faults["replace"], first.election.leads, first.lost.is_set()) == ([], True, False)


async def test_a_leader_whose_lease_was_taken_is_lost_at_once() -> None:
    """Somebody else's name in the lease ends it at the next look."""
    api = FakeApi()
    async with candidate(api, "a") as first:
        await first.leads()
        api.objects[LEASE]["spec"]["holderIdentity"] = "b"
        await asyncio.wait_for(first.lost.wait(), 60)
    assert holder(api) == "b"


async def test_who_is_slower_stands_by() -> None:
    """Of two that saw the lease free the one whose write came second is refused by its version, and waits."""
    api = FakeApi()
    api.faults["create"] = [ConflictError("somebody was quicker")]
    async with candidate(api, "a") as first:
        await first.leads()
    assert [method for method, path in api.calls if path.startswith(LEASE.rpartition("/")[0])][:4] == [
        "get",
        "create",
        "get",
        "create",
    ]


async def test_the_leaders_pod_is_labelled() -> None:
    """The Service finds the leader by its label; a pod whose container starts again stands by first."""
    api = FakeApi()
    api.add(PODS, {"metadata": {"name": "a", "labels": {LEADER: "true"}}})
    api.faults["create"] = [UnavailableError("away")]
    async with candidate(api, "a") as first:
        await first.leads()
        assert api.objects[f"{PODS}/a"]["metadata"]["labels"] == {LEADER: "true"}
    patches = [path for method, path in api.calls if method == "patch"]
    assert patches == [f"{PODS}/a", f"{PODS}/a"]


async def test_a_standby_that_is_drained_never_led() -> None:
    """It leaves without touching the leader's lease."""
    api = FakeApi()
    async with candidate(api, "a") as first:
        await first.leads()
        async with candidate(api, "b") as second:
            second.drain.set()
            await asyncio.wait_for(second.task, 60)
            assert not second.led.is_set()
        assert holder(api) == "a"
