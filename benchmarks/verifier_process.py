"""A verifier service as a process, on one core, and a client that calls it from ordinary functions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from retrograde.core.problem import Grade, Problem
from retrograde.wire.clients import VerifierClient

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 30.0
Items = Sequence[tuple[Problem, str]]


class Verifier:
    """One open connection to the service; `verify` is one RPC."""

    def __init__(self, runner: asyncio.Runner, client: VerifierClient) -> None:
        self._runner = runner
        self._client = client

    def verify(self, items: Items) -> list[Grade]:
        """One grade per item, in order."""
        return self._runner.run(self._client.verify(items))


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keeps this process, and those it starts meanwhile, on one core where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@contextlib.contextmanager
def running_verifier(settings: Mapping[str, object]) -> Iterator[Verifier]:
    """Starts the service with one worker and `settings`, and stops it in the end."""
    with tempfile.TemporaryDirectory() as folder, one_core():
        process, log = _start(Path(folder), settings)
        try:
            with asyncio.Runner() as runner:
                client = VerifierClient(_address(process, log))
                try:
                    yield Verifier(runner, client)
                finally:
                    runner.run(client.__aexit__(None, None, None))
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _start(folder: Path, settings: Mapping[str, object]) -> tuple[subprocess.Popen[bytes], Path]:
    config, log = folder / "verifier.yaml", folder / "log.jsonl"
    config.write_text(yaml.safe_dump({"num_workers": 1, **settings}), encoding="utf-8")
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "services.verifier", "--config", str(config)]
        return subprocess.Popen(command, cwd=ROOT, stderr=stderr), log


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the service listens, as its log tells. Raises RuntimeError with the log if it does not start."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n") and (entry := json.loads(line))["event"] == "ready":
                return str(entry["address"])
        time.sleep(0.05)
    raise RuntimeError(f"the verifier did not start: {log.read_text(encoding='utf-8')[-2000:]}")
