"""The feed as a synchronous trainer sees it, over gRPC, against a scripted service."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from queue import Queue

import grpc
import pytest

from retrograde.core.rollout import RolloutGroup
from retrograde.interop.rollouts import Rollouts
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.v1 import problem_pb2, rollout_pb2
from retrograde.v1 import rollouts_service_pb2 as pb
from retrograde.v1.rollouts_service_pb2_grpc import RolloutsServiceServicer, add_RolloutsServiceServicer_to_server


@dataclass
class ScriptedService(RolloutsServiceServicer):
    """Answers each pull with the next line of its script: names of leases GROUP/NUMBER.

    "!" breaks the stream off, "%" refuses, "~" waits for `go_on`, "..." until the client leaves.
    While `is_away` it does nothing else.
    """

    script: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    pulls: list[tuple[str, int]] = field(default_factory=list)
    most: list[int] = field(default_factory=list)
    acks: list[list[str]] = field(default_factory=list)
    opened: list[pb.OpenFeedRequest] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    num_waiting: int = 0
    is_away: bool = False

    def until(self, num_waiting: int) -> None:
        """Returns when so many streams wait."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.num_waiting == num_waiting, 60)

    def wait(self, event: threading.Event) -> None:
        with self.changed:
            self.num_waiting += 1
            self.changed.notify_all()
        event.wait(60)

    def OpenFeed(self, request: pb.OpenFeedRequest, context: grpc.ServicerContext) -> pb.OpenFeedResponse:
        self.opened.append(request)
        return pb.OpenFeedResponse(num_prompts=5)

    def PullRollouts(
        self, request: pb.PullRolloutsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.PullRolloutsResponse]:
        self.pulls.append((request.consumer, request.num_groups))
        self.most.append(request.max_unacknowledged)
        script = "!" if self.is_away else self.script.pop(0) if self.script else ""
        for lease in script.split():
            if lease == "~":
                self.wait(self.go_on)
                continue
            if lease == "...":
                left = threading.Event()
                context.add_callback(left.set)
                self.wait(left)
                return
            if lease == "!":
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
            if lease == "%":
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
            problem = problem_pb2.Problem(id="p", task="countdown")
            group = rollout_pb2.RolloutGroup(id=lease.split("/")[0], lease_id=lease, problem=problem)
            yield pb.PullRolloutsResponse(group=group)

    def AckRollouts(self, request: pb.AckRolloutsRequest, context: grpc.ServicerContext) -> pb.AckRolloutsResponse:
        if self.gone & set(request.lease_ids):
            context.abort(grpc.StatusCode.NOT_FOUND, "a lease has lapsed")
        self.acks.append(list(request.lease_ids))
        return pb.AckRolloutsResponse()


@pytest.fixture(name="service")
def scripted_service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture(name="address")
def address_of_service(service: ScriptedService) -> Iterator[str]:
    """On loopback."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    add_RolloutsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    service.go_on.set()
    server.stop(None).wait()


@pytest.fixture(name="rollouts")
def rollouts_of_service(address: str) -> Iterator[Rollouts]:
    """The feed "f" of `service` as consumer "me"."""
    with Rollouts(address, "f", consumer="me") as rollouts:
        yield rollouts


def until(condition: Callable[[], bool]) -> None:
    """Waits for a minute at most."""
    late = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.01)


def test_opening_tells_the_settings(service: ScriptedService, rollouts: Rollouts) -> None:
    """The feed is opened under its name, for its consumer, with the settings given."""
    assert rollouts.open("prompts.jsonl", group_size=3).num_prompts == 5
    (request,) = service.opened
    assert (request.feed, request.consumer, request.prompts_key) == ("f", "me", "prompts.jsonl")
    assert request.settings_json == '{"group_size": 3}'


def test_a_broken_stream_is_taken_up_where_it_stopped(service: ScriptedService, rollouts: Rollouts) -> None:
    """Two of three groups came before the service restarted: one more is asked for."""
    service.script = ["a/1 b/1 !", "c/1"]
    assert [group.id for group in rollouts.pull(3)] == ["a", "b", "c"]
    assert service.pulls == [("me", 3), ("me", 1)]


def test_an_overload_ends_no_training(service: ScriptedService, rollouts: Rollouts) -> None:
    """A service that is full is asked again, as one that is away is."""
    service.script = ["%", "a/1"]
    assert [group.id for group in rollouts.pull(1)] == ["a"]


def test_a_feed_that_ends_gives_what_it_has(service: ScriptedService, rollouts: Rollouts) -> None:
    """A stream that ends well without a new group is the end."""
    service.script = ["a/1"]
    assert [group.id for group in rollouts.pull(2)] == ["a"]


def test_a_group_is_given_once(service: ScriptedService, rollouts: Rollouts) -> None:
    """A group whose lease ran out comes again: it is not given again, and its new lease is acknowledged."""
    service.script = ["a/1", "a/2 b/1"]
    groups = rollouts.pull(1) + rollouts.pull(1)
    assert [group.id for group in groups] == ["a", "b"]
    rollouts.ack(groups)
    assert service.acks == [["a/2", "b/1"]]


def test_a_used_group_that_comes_again_is_acknowledged_at_once(service: ScriptedService, rollouts: Rollouts) -> None:
    """Its acknowledgement was lost on the way: the service is told again, and the trainer is not given it."""
    service.script = ["a/1", "a/2 b/1"]
    rollouts.ack(rollouts.pull(1))
    assert [group.id for group in rollouts.pull(1)] == ["b"]
    assert service.acks == [["a/1"], ["a/2"]]


def test_a_lapsed_lease_does_not_hold_up_the_others(service: ScriptedService, rollouts: Rollouts) -> None:
    """The service refuses all for one lapsed lease: the others are acknowledged one by one."""
    service.script, service.gone = ["a/1 b/1 c/1"], {"b/1"}
    rollouts.ack(rollouts.pull(3))
    assert service.acks == [["a/1"], ["c/1"]]


def test_acknowledging_again_is_no_call(service: ScriptedService, rollouts: Rollouts) -> None:
    """What is acknowledged is forgotten, and an empty list stays here."""
    service.script = ["a/1"]
    groups = rollouts.pull(1)
    rollouts.ack(groups)
    rollouts.ack(groups)
    assert service.acks == [["a/1"]]


def test_where_one_stream_breaks_all_are_taken_up_in_one_session(service: ScriptedService, rollouts: Rollouts) -> None:
    """Opening it again for one ends the other at the service: it is opened once, for both, when both have ended."""
    rollouts.open("prompts.jsonl")
    service.script = ["a/1 ~ !"]
    one = rollouts.pull_soon(2)
    service.until(num_waiting=1)
    service.script = ["b/1 ...", "c/1", "d/1"]
    other = rollouts.pull_soon(2)
    service.until(num_waiting=2)
    until(lambda: len(rollouts._thread.consumer._leases) == 2)
    service.go_on.set()
    pulled = [[group.id for group in pull.result(60)] for pull in (one, other)]
    assert [ids[0] for ids in pulled] == ["a", "b"]
    assert {ids[1] for ids in pulled} == {"c", "d"}
    assert service.pulls == [("me", 2), ("me", 2), ("me", 1), ("me", 1)]
    assert [list(request.lease_ids) for request in service.opened] == [[], ["a/1", "b/1"]]


def test_a_pull_that_fails_gives_back_what_came(service: ScriptedService, address: str) -> None:
    """The trainer never saw it: the next pull opens the feed without its lease, and is given it."""
    with Rollouts(address, "f", patience_seconds=0.3) as rollouts:
        rollouts.open("prompts.jsonl")
        service.script = ["a/1 ~ !"]
        pulling = rollouts.pull_soon(2)
        service.until(num_waiting=1)
        service.is_away = True
        service.go_on.set()
        with pytest.raises(UnavailableError, match=r"^rollouts: no group came for 0\.3 s"):
            pulling.result(60)
        service.is_away, service.script = False, ["a/2"]
        assert [group.id for group in rollouts.pull(1)] == ["a"]
    assert list(service.opened[-1].lease_ids) == []


def test_a_trainer_bounds_what_it_has_in_work(service: ScriptedService, address: str) -> None:
    """The service is told; a pull that could never end is refused here."""
    with Rollouts(address, "f", max_unacknowledged=2) as rollouts:
        assert rollouts.pull(2) == []
        with pytest.raises(InvalidInputError, match="3 never come while max_unacknowledged is 2; raise it"):
            rollouts.pull(3)
    assert service.most == [2]


def test_leaving_ends_what_is_pulled(service: ScriptedService, address: str) -> None:
    """Nobody takes it any more."""
    service.script = ["..."]
    with Rollouts(address, "f") as rollouts:
        pulling = rollouts.pull_soon(1)
        service.until(num_waiting=1)
    assert pulling.cancelled()


def test_what_comes_as_a_pull_is_cancelled_comes_again(
    service: ScriptedService, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pull has ended in its own thread, and nobody takes its groups: the next one is given them."""
    rollouts.open("prompts.jsonl")
    service.script = ["a/1", "a/2"]
    consumer, pulls = rollouts._thread.consumer, Queue[Future[list[RolloutGroup]]]()
    as_ever = consumer.pull

    async def pull(num_groups: int, min_policy_version: int = 0) -> list[RolloutGroup]:
        groups = await as_ever(num_groups, min_policy_version)
        pulls.get(timeout=60).cancel()
        return groups

    monkeypatch.setattr(consumer, "pull", pull)
    pulls.put(pulled := rollouts.pull_soon(1))
    with pytest.raises(CancelledError):
        pulled.result(60)
    monkeypatch.undo()
    assert [group.id for group in rollouts.pull(1)] == ["a"]
