"""The trainer's feed over real gRPC, against a scripted servicer on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from retrograde.core.settings import RlSettings
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.runtime.tls import TlsSettings
from retrograde.v1 import problem_pb2, rollout_pb2
from retrograde.v1 import rollouts_service_pb2 as pb
from retrograde.v1.rollouts_service_pb2_grpc import RolloutsServiceServicer, add_RolloutsServiceServicer_to_server
from services.trainer.job.feed import GrpcFeed
from services.trainer.job.settings import GrpoJobSettings


@dataclass
class ScriptedRollouts(RolloutsServiceServicer):
    """Answers pulls with the scripted names; "!" breaks the stream off there, "%" refuses, "~" waits for `go_on`.

    Knows the leases in `live` only.
    """

    script: list[str] = field(default_factory=list)
    live: set[str] = field(default_factory=set)
    pulls: list[tuple[int, int]] = field(default_factory=list)
    acks: list[list[str]] = field(default_factory=list)
    opened: list[pb.OpenFeedRequest] = field(default_factory=list)
    waiting: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    swaps_slowly: bool = False

    def OpenFeed(self, request: pb.OpenFeedRequest, context: grpc.ServicerContext) -> pb.OpenFeedResponse:
        self.opened.append(request)
        return pb.OpenFeedResponse(num_prompts=1)

    def PullRollouts(
        self, request: pb.PullRolloutsRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.PullRolloutsResponse]:
        self.pulls.append((request.num_groups, request.min_policy_version))
        for name in self.script.pop(0).split() if self.script else []:
            if name == "~":
                self.waiting.set()
                assert self.go_on.wait(60)
                continue
            if name == "!":
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
            if name == "%":
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
            problem = problem_pb2.Problem(id=name, task="countdown")
            yield pb.PullRolloutsResponse(group=rollout_pb2.RolloutGroup(id=name, lease_id=name, problem=problem))

    def AckRollouts(self, request: pb.AckRolloutsRequest, context: grpc.ServicerContext) -> pb.AckRolloutsResponse:
        if not set(request.lease_ids) <= self.live:
            context.abort(grpc.StatusCode.NOT_FOUND, "a lease has lapsed")
        self.acks.append(list(request.lease_ids))
        return pb.AckRolloutsResponse(num_acknowledged=len(request.lease_ids))

    def PublishPolicy(
        self, request: pb.PublishPolicyRequest, context: grpc.ServicerContext
    ) -> pb.PublishPolicyResponse:
        assert (request.checkpoint_key, request.policy_version) == ("policies/000003", 0)
        assert not self.swaps_slowly or self.go_on.wait(60)
        return pb.PublishPolicyResponse(policy_version=17)


@pytest.fixture(name="rollouts")
def scripted_rollouts() -> ScriptedRollouts:
    """A servicer without a script."""
    return ScriptedRollouts()


@pytest.fixture(name="settings")
def settings_of_job(rollouts: ScriptedRollouts, tmp_path: Path) -> Iterator[GrpoJobSettings]:
    """Of the feed "arm" of `rollouts`, over loopback."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    add_RolloutsServiceServicer_to_server(rollouts, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    keys = dict.fromkeys(("store", "init_checkpoint", "output_key", "job_key", "policies_key"), "unused")
    yield GrpoJobSettings(
        **keys,
        prompts_key="prompts.jsonl",
        work_dir=tmp_path,
        rollouts=f"127.0.0.1:{port}",
        feed="arm",
        seed=9,
        rl=RlSettings(group_size=6, temperature=0.9, max_tokens=77, lease_seconds=5000),
    )
    rollouts.go_on.set()
    server.stop(None).wait()


@pytest.fixture(name="feed")
def feed_of_servicer(settings: GrpoJobSettings, rollouts: ScriptedRollouts) -> Iterator[GrpcFeed]:
    """The client of the job."""
    with GrpcFeed(settings) as feed:
        yield feed
        rollouts.go_on.set()


def test_opening_tells_the_feed_how_to_sample(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """Group size, temperature, length, seed and how long a group may be in no save are those of the job."""
    feed.open()

    assert [(request.feed, request.prompts_key) for request in rollouts.opened] == [("arm", "prompts.jsonl")]
    described = json.loads(rollouts.opened[0].settings_json)
    assert described == {"group_size": 6, "temperature": 0.9, "max_tokens": 77, "seed": 9, "lease_seconds": 5000.0}


def test_a_stream_that_breaks_off_is_taken_up_where_it_stopped(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """Two of three groups arrive before the service restarts: one more is asked for, not three."""
    rollouts.script = ["g1 g2 !", "g3"]

    groups = feed.pull(3, min_policy_version=5)

    assert [group.id for group in groups] == ["g1", "g2", "g3"]
    assert rollouts.pulls == [(3, 5), (1, 5)]


def test_an_overload_ends_no_job(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """A service that is full is asked again, as one that is away is."""
    rollouts.script = ["%", "g1"]

    assert [group.id for group in feed.pull(1, min_policy_version=5)] == ["g1"]


def test_what_was_leased_and_never_came_is_handed_back(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """After a break the feed is opened again, and told of the groups that came and are not acknowledged: no others."""
    feed.open()
    rollouts.script, rollouts.live = ["g1 g2", "g3 !", "g4"], {"g1"}
    feed.pull(2, min_policy_version=5)
    feed.ack(["g1"])

    assert [group.id for group in feed.pull(2, min_policy_version=5)] == ["g3", "g4"]
    assert [list(request.lease_ids) for request in rollouts.opened] == [[], ["g2", "g3"]]


def test_a_feed_that_ends_gives_what_it_has(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """A stream that ends well without a group is the end."""
    rollouts.script = ["g1"]

    assert [group.id for group in feed.pull(2, min_policy_version=0)] == ["g1"]


def test_patience_ends(rollouts: ScriptedRollouts, settings: GrpoJobSettings) -> None:
    """A service that stays away longer than `patience_seconds` is an error."""
    rollouts.script = ["!"] * 100
    impatient = settings.model_copy(update={"patience_seconds": 0.5})

    with GrpcFeed(impatient) as feed, pytest.raises(UnavailableError, match=r"^rollouts: no group came for 0\.5 s: "):
        feed.pull(1, min_policy_version=0)


def test_a_lapsed_lease_does_not_hold_up_the_others(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """The service refuses the lot for one lapsed lease: the live ones are acknowledged all the same."""
    rollouts.live = {"g1", "g3"}

    feed.ack(["g1", "g2", "g3"])

    assert rollouts.acks == [["g1"], ["g3"]]


def test_nothing_to_acknowledge_is_no_call(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """An empty list stays here."""
    feed.ack([])

    assert rollouts.acks == []


def test_publishing_returns_the_version_the_pool_gave(feed: GrpcFeed) -> None:
    """The pool numbers its policies; the trainer asks for that number from then on."""
    assert feed.publish("policies/000003") == 17


def test_publishing_may_take_as_long_as_the_job_says(rollouts: ScriptedRollouts, settings: GrpoJobSettings) -> None:
    """Beyond the recipe's `rl.publish_seconds` it is an error, and the job begins again from its save."""
    rollouts.swaps_slowly = True
    rl = settings.rl.model_copy(update={"publish_seconds": 0.5})
    with GrpcFeed(settings.model_copy(update={"rl": rl})) as feed, pytest.raises(UnavailableError):
        feed.publish("policies/000003")


def test_how_long_the_job_waits_changes_no_result(settings: GrpoJobSettings) -> None:
    """A job continues from the saves it made under other waits, and not from those of another group size."""
    patient = settings.rl.model_copy(update={"lease_seconds": 1e6, "publish_seconds": 1e6})
    other = settings.rl.model_copy(update={"group_size": 7})
    waits = {"patience_seconds": 1e6, "rl": patient}

    assert settings.model_copy(update=waits).fingerprint == settings.fingerprint
    assert settings.model_copy(update={"rl": other}).fingerprint != settings.fingerprint


def test_weights_are_published_while_a_pull_waits(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """Another thread's pull gets its group after them: training does not wait for generation."""
    rollouts.script = ["~ g1"]
    with ThreadPoolExecutor(1) as thread:
        pulling = thread.submit(feed.pull, 1, 0)
        assert rollouts.waiting.wait(60)

        assert feed.publish("policies/000003") == 17
        assert not pulling.done()
        rollouts.go_on.set()

        assert [group.id for group in pulling.result(60)] == ["g1"]


def test_an_interrupt_ends_the_pull_in_progress_and_those_after(rollouts: ScriptedRollouts, feed: GrpcFeed) -> None:
    """The job is leaving: nobody waits for samples any more."""
    rollouts.script = ["~ g1", "g2"]
    with ThreadPoolExecutor(1) as thread:
        pulling = thread.submit(feed.pull, 1, 0)
        assert rollouts.waiting.wait(60)

        feed.interrupt()

        with pytest.raises(CancelledError):
            pulling.result(60)
    with pytest.raises(CancelledError):
        feed.pull(1, 0)


def test_an_identity_that_is_missing_stops_the_start(settings: GrpoJobSettings, tmp_path: Path) -> None:
    """The file is named, and no thread is left behind."""
    tls = TlsSettings(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key", authority=tmp_path / "ca.crt")
    with pytest.raises(InvalidInputError, match=r"tls\.authority: .*ca\.crt: No such file"):
        GrpcFeed(settings.model_copy(update={"tls": tls})).__enter__()
    assert "feed" not in [thread.name for thread in threading.enumerate()]
