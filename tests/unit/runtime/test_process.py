"""A real process is started, called, told to stop and watched: what a supervisor and a cluster rely on."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceStub
from tests.unit.runtime.process_service import Service, health, starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services that end with the test."""
    with starting(tmp_path) as start:
        yield start


def sleep_call(channel: grpc.Channel, seconds: float) -> grpc.CallFuture[pb.VerifyResponse]:
    request = pb.VerifyRequest(items=[pb.VerifyItem(text=str(seconds))])
    return VerifierServiceStub(channel).Verify.future(request)


def events(lines: list[str]) -> list[str]:
    return [json.loads(line)["event"] for line in lines]


def test_a_process_offers_health_reflection_and_metrics(start: Callable[..., Service]) -> None:
    """Once ready: SERVING for the process and its service, its name in reflection, calls counted over HTTP."""
    ready = (service := start()).until("ready")
    assert service.seen == ["opened", "opened", "starting", "ready"]
    with grpc.insecure_channel(ready["address"]) as channel:
        assert (health(channel), health(channel, "retrograde.v1.VerifierService")) == (SERVING, SERVING)
        names = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert {"retrograde.v1.VerifierService", "grpc.health.v1.Health"} <= set(names)
        sleep_call(channel, 0).result(timeout=10)
    with urllib.request.urlopen(f"http://{ready['metrics_address']}/metrics") as reply:
        text = reply.read().decode()
    labels = 'grpc_code="OK",grpc_method="Verify",grpc_service="retrograde.v1.VerifierService",grpc_type="unary"'
    assert f"grpc_server_handled_total{{{labels}}} 1.0" in text


def test_sigterm_drains(start: Callable[..., Service]) -> None:
    """A slow call ends well, health says NOT_SERVING meanwhile, new calls are refused, the rest closes in order."""
    service = start()
    ready = service.until("ready")
    with grpc.insecure_channel(ready["address"]) as channel:
        slow = sleep_call(channel, 1.5)
        service.until("sleeping")
        service.stop()
        service.until("draining")
        time.sleep(0.2)
        assert (health(channel), health(channel, "retrograde.v1.VerifierService")) == (NOT_SERVING, NOT_SERVING)
        assert sleep_call(channel, 0).code() is grpc.StatusCode.UNAVAILABLE
        assert slow.result(timeout=10) == pb.VerifyResponse()
    status, lines = service.end()
    assert (status, events(lines)) == (0, ["drained", "closed", "closed"])
    assert [json.loads(line).get("name") for line in lines[-2:]] == ["second", "first"]
    assert "handed back" in service.seen + events(lines)


def test_a_watch_of_health_does_not_delay_the_end(start: Callable[..., Service]) -> None:
    """An open health Watch, which never ends by itself, sees NOT_SERVING and does not hold the process up."""
    service = start()
    ready = service.until("ready")
    with grpc.insecure_channel(ready["address"]) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        started = time.monotonic()
        service.stop()
        assert next(watch).status == NOT_SERVING
        assert service.end()[0] == 0
    assert time.monotonic() - started < 5


def test_a_second_signal_ends_at_once(start: Callable[..., Service]) -> None:
    """While draining for a call of a minute, another signal ends the process with its number's status."""
    service = start(drain_seconds=60)
    ready = service.until("ready")
    with grpc.insecure_channel(ready["address"]) as channel:
        call = sleep_call(channel, 60)
        service.until("sleeping")
        service.stop()
        service.until("draining")
        assert not call.done()
        started = time.monotonic()
        service.stop(signal.SIGINT)
        assert service.end()[0] == 128 + signal.SIGINT
    assert time.monotonic() - started < 5


def test_the_drain_has_an_end(start: Callable[..., Service]) -> None:
    """A worker and a call that do not end are cut off after drain_seconds; what was opened is still closed."""
    service = start(drain_seconds=0.5, worker="hangs")
    ready = service.until("ready")
    with grpc.insecure_channel(ready["address"]) as channel:
        call = sleep_call(channel, 60)
        service.until("sleeping")
        service.stop()
        status, lines = service.end()
        text = "this process ended before the call did; call again, another answers"
        assert (call.code(), call.details()) == (grpc.StatusCode.UNAVAILABLE, text)
    assert (status, events(lines)[-4:]) == (0, ["drain cut off", "drained", "closed", "closed"])


def test_a_message_over_the_limit_is_refused(start: Callable[..., Service]) -> None:
    """A request of more than max_message_bytes is RESOURCE_EXHAUSTED; one below the limit is answered."""
    ready = start(max_message_bytes=2048).until("ready")
    with grpc.insecure_channel(ready["address"]) as channel:
        verify = VerifierServiceStub(channel).Verify.future
        large, small = (pb.VerifyRequest(items=[pb.VerifyItem(text="0" * size)]) for size in (2049, 1024))
        assert verify(large).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert verify(small).result(timeout=10) == pb.VerifyResponse()


def test_calls_over_the_limit_are_refused(start: Callable[..., Service]) -> None:
    """Beside max_concurrent_calls being answered another is RESOURCE_EXHAUSTED."""
    service = start(max_concurrent_calls=1)
    with grpc.insecure_channel(service.until("ready")["address"]) as channel:
        slow = sleep_call(channel, 60)
        service.until("sleeping")
        assert sleep_call(channel, 0).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        slow.cancel()


def test_a_signal_during_the_start_stops_it(start: Callable[..., Service]) -> None:
    """SIGTERM while starting: status 0 at once, and what was opened is closed."""
    service = start(start_seconds=60)
    service.until("starting")
    service.stop()
    status, lines = service.end()
    assert (status, events(lines)) == (0, ["stopping", "closed", "closed"])


def test_a_port_that_is_taken_is_one_line(start: Callable[..., Service]) -> None:
    """Status 2 and one line that names the address and the fix, after what was opened is closed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, lines = start(listen=address, log_level="error").end()
    assert status == 2
    fix = "end what listens there or choose another port (0 picks one)"
    assert lines == [f"error: sleeper: listen: cannot listen on {address}: Address already in use; {fix}"]


def test_a_metrics_port_that_is_taken_is_one_line(start: Callable[..., Service]) -> None:
    """The metrics port is named as such."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, lines = start(metrics_port=port, log_level="error").end()
    assert (status, len(lines)) == (2, 1)
    assert lines[0].startswith(f"error: sleeper: metrics_port: cannot listen on 127.0.0.1:{port}: Address already in")


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"listen": "no-such-host.invalid:1"}, "listen: cannot listen on no-such-host.invalid:1"),
        ({"lissten": "x"}, "lissten: unknown key; did you mean 'listen'?"),
        ({"store": "gs://bucket"}, "this build offers sqlite and kafka for brokers, file and s3 for stores"),
    ],
)
def test_bad_settings_are_one_line(start: Callable[..., Service], settings: dict[str, str], part: str) -> None:
    """Status 2 and one line, before serving."""
    status, lines = start(log_level="error", **settings).end()
    assert (status, len(lines)) == (2, 1)
    assert part in lines[0]


def test_a_worker_that_fails_ends_the_process(start: Callable[..., Service]) -> None:
    """A broken worker is no half-alive process: it drains, closes, and leaves with status 1 and the traceback."""
    service = start(worker="fails")
    service.until("worker ended")
    status, lines = service.end()
    assert status == 1
    assert lines[-1] == "ValueError: the worker broke"
