"""A real verifier service for tests: started as `python -m services.verifier`, looked at from outside, ended by pid."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

HOSTILE = "tests.integration.verifier.hostile"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Service:
    """A running verifier; metrics are on."""

    process: subprocess.Popen[bytes]
    address: str
    metrics_address: str

    def workers(self) -> list[int]:
        """Pids of the grading processes: what the fork servers have forked."""
        return [child for server in children(self.process.pid) for child in children(server)]

    def metric(self, sample: str) -> float:
        """The value of a line of /metrics, for example 'retrograde_verifier_workers'; 0 if there is none yet."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics") as page:
            lines = page.read().decode().splitlines()
        return next((float(line.removeprefix(f"{sample} ")) for line in lines if line.startswith(f"{sample} ")), 0.0)

    def until(self, sample: str, least: float, seconds: float = 60.0) -> None:
        """Waits for a metric to reach a value."""
        end = time.monotonic() + seconds
        while self.metric(sample) < least:
            assert time.monotonic() < end, f"{sample} is {self.metric(sample)} after {seconds} s"
            time.sleep(0.05)

    def is_healthy(self) -> bool:
        """What the health service says."""
        with grpc.insecure_channel(self.address) as channel:
            request = health_pb2.HealthCheckRequest(service="retrograde.v1.VerifierService")
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def memory_bytes(self) -> int:
        """What the service, its fork servers and its workers hold now; pages that they share count once for each."""
        pids = [self.process.pid, *children(self.process.pid), *self.workers()]
        return sum(map(_resident_bytes, pids))


@contextlib.contextmanager
def serving(folder: Path, environment: dict[str, str] | None = None, **settings: object) -> Iterator[Service]:
    """A service with these settings; what it says is in folder/verifier.log."""
    config, log = folder / "verifier.yaml", folder / "verifier.log"
    config.write_text(yaml.safe_dump({"metrics_port": -1, "tasks": [HOSTILE]} | settings))
    path = os.pathsep.join(path for path in sys.path if path)
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.verifier", "--config", str(config)],
            stderr=stderr,
            env=os.environ | {"PYTHONPATH": path} | (environment or {}),
        )
    try:
        ready = _until_ready(process, log)
        yield Service(process, ready["address"], ready["metrics_address"])
    finally:
        process.kill()
        process.wait()


def _until_ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    end = time.monotonic() + _START_SECONDS
    while True:
        for line in log.read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):
                if (said := json.loads(line))["event"] == "ready":
                    return dict(said)
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < end, log.read_text("utf-8")
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Processes right below `pid`, whichever thread started them; none if it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, path.read_text().split())
    return found


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
