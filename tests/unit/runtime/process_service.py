"""The program of process_program.py as a process of its own, for tests of what a process does."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc


class Service:
    """The program of process_program.py, running."""

    def __init__(self, folder: Path, **settings: object) -> None:
        config = folder / f"config-{len(list(folder.iterdir()))}.yaml"
        config.write_text(json.dumps({"metrics_port": -1, "drain_seconds": 10, **settings}))
        program = Path(__file__).with_name("process_program.py")
        self.process = subprocess.Popen(
            [sys.executable, str(program), "--config", str(config)], stderr=subprocess.PIPE, text=True
        )
        self.seen: list[str] = []

    def until(self, event: str) -> dict[str, Any]:
        """Reads the log up to `event`; that line."""
        assert self.process.stderr
        for text in self.process.stderr:
            line: dict[str, Any] = json.loads(text)
            self.seen.append(line["event"])
            if line["event"] == event:
                return line
        raise AssertionError(f"{event!r} was never logged; only {self.seen}")

    def end(self) -> tuple[int, list[str]]:
        """Waits for its end; status, and the lines left."""
        assert self.process.stderr
        lines = self.process.stderr.read().splitlines()
        return self.process.wait(timeout=20), lines

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def close(self) -> None:
        """Kills it if it still runs."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Service]]:
    """Starts services with settings of their own; they are ended when the block is left."""
    with contextlib.ExitStack() as stack:

        def start(**settings: object) -> Service:
            service = Service(folder, **settings)
            stack.callback(service.close)
            return service

        yield start


def health(channel: grpc.Channel, service: str = "") -> int:
    status: int = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status
    return status
