"""A running inference service: its process, its settings file, its address; for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 150
STOP_SECONDS = 60


class Service:
    """`python -m MODULE` on a free port; killed at the end if it has not ended."""

    def __init__(self, folder: Path, module: str = "services.inference", **settings: Any) -> None:
        config = folder / "inference.yaml"
        config.write_text(yaml.safe_dump({"listen": "127.0.0.1:0", **settings}))
        self._log = folder / "inference.log"
        self._told = len(self._log.read_text().splitlines()) if self._log.exists() else 0
        with self._log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--config", str(config)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"},
                stderr=stream,
                stdout=stream,
            )
        self.address = ""

    def wait_ready(self) -> None:
        """Returns when the service says so. AssertionError with its log when it ends first or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not self.address:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(self._log.read_text())
            time.sleep(0.2)
            lines = self._log.read_text().splitlines()[self._told :]
            self.address = next(filter(None, map(_address, lines)), "")

    def children(self) -> list[int]:
        """Process ids of its children: the engine among them."""
        ids = subprocess.run(
            ["/bin/ps", "--ppid", str(self.process.pid), "-o", "pid="], capture_output=True, text=True, check=False
        )
        return [int(each) for each in ids.stdout.split()]

    def kill_engine(self) -> None:
        """SIGKILL to the largest of its children."""
        os.kill(max(self.children(), key=_resident_pages), signal.SIGKILL)

    def end(self, number: signal.Signals) -> int:
        """Sends the signal and gives the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


def _resident_pages(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/statm").read_text().split()[1])


def _address(line: str) -> str:
    """The address in a "ready" line, else ""."""
    with contextlib.suppress(ValueError):
        record = json.loads(line)
        if record.get("event") == "ready":
            return str(record["address"])
    return ""


@contextlib.contextmanager
def running(folder: Path, module: str = "services.inference", **settings: Any) -> Iterator[Service]:
    """The service, ready."""
    service = Service(folder, module, **settings)
    try:
        service.wait_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.end(signal.SIGKILL)
