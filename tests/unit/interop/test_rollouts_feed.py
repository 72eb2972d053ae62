"""The feed as a synchronous trainer sees it, over gRPC, against a scripted service."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest

from retrograde.interop.rollouts import Rollouts
from retrograde.v1 import problem_pb2, rollout_pb2
from retrograde.v1 import rollouts_service_pb2 as pb
from retrograde.v1.rollouts_service_pb2_grpc import RolloutsServiceServicer, add_RolloutsServiceServicer_to_server


@dataclass
class ScriptedService(RolloutsServiceServicer):
    """Answers each pull with the next line of its script: names of leases GROUP/NUMBER.

    "!" breaks the stream off, "%" refuses.
    """

    script: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    pulls: list[tuple[str, int]] = field(default_factory=list)
    acks: list[list[str]] = field(default_factory=list)
    opened: list[pb.OpenFeedRequest] = field(default_factory=list)

    def OpenFeed(self, request: pb.OpenFeedRequest, context: grpc.ServicerContext) -> pb.OpenFeedResponse:
        self.opened.append(request)
        return pb.OpenFeedResponse(num_prompts=5)

    def PullRollouts(
        self, request: pb.PullRolloutsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.PullRolloutsResponse]:
        self.pulls.append((request.consumer, request.num_groups))
        for lease in self.script.pop(0).split() if self.script else []:
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


@pytest.fixture(name="rollouts")
def rollouts_of_service(service: ScriptedService) -> Iterator[Rollouts]:
    """The feed "f" of `service` as consumer "me"."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    add_RolloutsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Rollouts(f"127.0.0.1:{port}", "f", consumer="me") as rollouts:
            yield rollouts
    finally:
        server.stop(None).wait()


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
