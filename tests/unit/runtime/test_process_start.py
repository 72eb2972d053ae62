"""A real process whose broker is away as it starts: it waits, says so, and serves once the broker is there."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2

from retrograde.cli.topology import free_ports
from retrograde.runtime.process import LIVE
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceStub
from tests.unit.runtime.process_service import Service, health, starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAME = "retrograde.v1.VerifierService"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services that end with the test."""
    with starting(tmp_path) as start:
        yield start


def refusal(channel: grpc.Channel) -> str | None:
    call = VerifierServiceStub(channel).Verify.future(pb.VerifyRequest(items=[pb.VerifyItem(text="0")]))
    return call.details()


def test_it_waits_unready_and_then_serves(start: Callable[..., Service], tmp_path: Path) -> None:
    """Alive and not serving, with one line for each attempt, after longer and longer pauses; then ready."""
    (port,) = free_ports(1)
    address, broker = f"127.0.0.1:{port}", tmp_path / "broker"
    service = start(listen=address, prepared=str(broker))
    pauses = [service.until("start waits")["pause_seconds"] for _ in range(3)]
    assert [0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses)] == [True] * 3
    assert service.seen == ["opened", "opened", "starting", *["start waits"] * 3]
    with grpc.insecure_channel(address) as channel:
        assert [health(channel, name) for name in ("", NAME, LIVE)] == [NOT_SERVING, NOT_SERVING, SERVING]
        assert refusal(channel) == "this process is starting; call again"
        broker.touch()
        service.until("ready")
        assert [health(channel, name) for name in ("", NAME, LIVE)] == [SERVING] * 3
        assert refusal(channel) == ""


@pytest.mark.parametrize(("prepared", "event"), [("gone", "start waits"), ("never", "hanging")])
def test_a_signal_ends_the_wait(start: Callable[..., Service], tmp_path: Path, prepared: str, event: str) -> None:
    """Between two attempts and in the midst of one that does not end: status 0, and what was opened is closed."""
    service = start(prepared=prepared if prepared == "never" else str(tmp_path / prepared))
    service.until(event)
    service.stop(signal.SIGTERM)
    status, lines = service.end()
    events = [json.loads(line)["event"] for line in lines]
    assert (status, [each for each in events if each != "start waits"]) == (0, ["stopping", "closed", "closed"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prepared": "wrong"}, "broker: wrong; correct it"),
        ({"prepared": "forbidden"}, "broker: no right; grant it"),
        ({"broker": "sqlite://relative.db"}, "holds no absolute path; write sqlite:///ABSOLUTE/PATH.db"),
    ],
)
def test_what_waiting_cannot_mend_ends_it(start: Callable[..., Service], settings: dict[str, str], words: str) -> None:
    """Status 2 and the one line, at the first attempt."""
    status, lines = start(log_level="error", **settings).end()
    assert (status, len(lines)) == (2, 1)
    assert words in lines[0]


def test_a_broker_that_is_away_is_waited_for(start: Callable[..., Service]) -> None:
    """Nobody listens at its address: the line names it, and the process goes on trying."""
    (port,) = free_ports(1)
    service = start(broker=f"kafka://127.0.0.1:{port}")
    reasons = {service.until("start waits")["reason"] for _ in range(2)}
    assert len(reasons) == 1
    assert f"nobody answers at 127.0.0.1:{port}" in reasons.pop()
