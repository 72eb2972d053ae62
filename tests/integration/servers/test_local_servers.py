"""The real servers that tests and `make services-up` start: ready when they say so, gone when they should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from retrograde.cli.children import Identity
from retrograde.cli.servers.keeper import keeper
from retrograde.cli.servers.obtain import kafka_libs, minio_binary
from tests.servers import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from retrograde.cli.servers.local_server import LocalServer
    from retrograde.cli.servers.minio_server import MinioServer

pytestmark = [pytest.mark.kafka, pytest.mark.minio]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retrograde.cli.servers", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def test_up_starts_both_and_down_ends_both(tmp_path: Path) -> None:
    """`up` returns once both answer, a second `up` changes nothing, `down` leaves no process; data are kept."""
    need(kafka_libs)
    need(minio_binary)
    started = run("up", "--folder", tmp_path)
    assert started.returncode == 0, started.stderr
    state = json.loads(started.stdout)
    assert state == json.loads((tmp_path / "services.json").read_text())
    assert json.loads(run("up", "--folder", tmp_path).stdout) == state
    processes = [Identity(state[name]["pid"], state[name]["started"]) for name in ("keeper", "kafka", "minio")]
    assert all(each.lives() for each in processes)
    assert run("down", "--folder", tmp_path).stdout == "stopped\n"
    assert not any(each.lives() for each in processes)
    assert run("status", "--folder", tmp_path).returncode == 2
    assert (tmp_path / "kafka" / "data" / "meta.properties").exists()


def test_servers_do_not_outlive_a_killed_keeper(tmp_path: Path) -> None:
    """Kill -9 of what keeps them ends both."""
    need(kafka_libs)
    need(minio_binary)
    state = json.loads(run("up", "--folder", tmp_path).stdout)
    os.kill(state["keeper"]["pid"], signal.SIGKILL)
    servers = [Identity(state[name]["pid"], state[name]["started"]) for name in ("kafka", "minio")]
    wait_until(lambda: not any(each.lives() for each in servers))
    assert keeper(tmp_path).running() is None


@pytest.mark.parametrize("fixture", ["own_kafka", "own_minio"])
def test_a_killed_server_starts_again_where_it_was(request: pytest.FixtureRequest, fixture: str) -> None:
    """After kill -9 a server starts on the same ports and data."""
    server: LocalServer = request.getfixturevalue(fixture)
    ports, pid = list(server.ports), server.pid
    server.kill()
    assert server.pid == 0
    server.start()
    assert server.ports == ports
    assert server.pid not in {0, pid}
    assert server.answers()


@pytest.mark.parametrize("fixture", ["secure_kafka", "secure_minio"])
def test_a_server_with_certificates_becomes_ready(request: pytest.FixtureRequest, fixture: str) -> None:
    """Kafka and MinIO take the keys and certificates they are given."""
    server: LocalServer = request.getfixturevalue(fixture)
    assert server.answers()


def test_a_server_that_cannot_start_says_why(own_minio: MinioServer) -> None:
    """What ends while starting raises an error that ends with its log."""
    own_minio.stop()
    own_minio.access_key_file.write_text("x")
    with pytest.raises(Exception, match=r"minio ended while starting; .*minio\.log ends with:\n"):
        own_minio.start()
