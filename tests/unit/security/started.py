"""Real processes of the platform, with all they write kept in a file."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrograde.runtime.tls import TlsSettings

ROOT = Path(__file__).parents[3]
SECONDS = 60.0


class Started:
    """`python -m MODULE --config FILE` with these settings."""

    def __init__(self, folder: Path, module: str, settings: dict[str, object]) -> None:
        self.log = folder / f"{module}.log"
        self.config = folder / f"{module}.yaml"
        self.config.write_text(json.dumps(settings))
        command = [sys.executable, "-m", module, "--config", str(self.config)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def until(self, event: str) -> dict[str, Any]:
        """The first line that says so; waits for it."""
        late = time.monotonic() + SECONDS
        while not (found := [line for line in self.lines() if line["event"] == event]):
            if time.monotonic() > late or self.process.poll() is not None:
                raise AssertionError(f"{event!r} was never logged: {self.log.read_text()}")
            time.sleep(0.02)
        return found[0]

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far; lines of gRPC's own are left out."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{") and line[-1] == "}"
        ]

    def stop(self) -> int:
        """Tells it to stop; the status with which it ends."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def started(folder: Path, module: str, **settings: object) -> Iterator[Started]:
    """Ends with the block."""
    process = Started(folder, module, settings)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


def described(tls: TlsSettings) -> dict[str, str]:
    """As a settings file has it."""
    return {name: str(path) for name, path in tls}
