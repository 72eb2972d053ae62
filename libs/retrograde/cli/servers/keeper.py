"""Kafka and MinIO in the background: one process starts both, waits, and ends them when it is told to.

`FOLDER/services.json` says where they are once they answer, and which process keeps them; it is gone once they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from retrograde.cli.children import Identity
from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.cli.servers.local_server import START_SECONDS, LocalServer
from retrograde.cli.servers.minio_server import MinioServer
from retrograde.runtime.errors import InvalidInputError, UnavailableError

_LOOK_EVERY_SECONDS = 0.2
_STOP_SECONDS = 60.0


def up(folder: Path) -> dict[str, Any]:
    """The state once both answer; what runs already is left as it is. Raises UnavailableError when one does not."""
    state = running(folder)
    if state is not None:
        return state
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / "keeper.log"
    command = [sys.executable, "-m", "retrograde.cli.servers", "keep", "--folder", str(folder)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + 2 * START_SECONDS
    while (state := running(folder)) is None:
        if process.poll() is not None:
            words = log_file.read_text(encoding="utf-8", errors="replace").strip()
            raise UnavailableError(words.removeprefix("error: ") or f"{command} ended with {process.returncode}")
        if time.monotonic() > end:
            process.terminate()
            raise UnavailableError(f"the servers do not answer after {2 * START_SECONDS:.0f} s; see {log_file}")
        time.sleep(_LOOK_EVERY_SECONDS)
    return state


def down(folder: Path) -> bool:
    """Ends both; False when none runs there."""
    state = running(folder)
    if state is None:
        return False
    keeper = Identity(state["keeper"]["pid"], state["keeper"]["started"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(keeper.pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_SECONDS
    while keeper.lives():
        if time.monotonic() > end:
            raise UnavailableError(f"process {keeper.pid} does not end after {_STOP_SECONDS:.0f} s; see {folder}")
        time.sleep(_LOOK_EVERY_SECONDS)
    return True


def running(folder: Path) -> dict[str, Any] | None:
    """Where the servers of `folder` are, None when its keeper does not live."""
    try:
        state: dict[str, Any] = json.loads(_state_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if Identity(state["keeper"]["pid"], state["keeper"]["started"]).lives() else None


def keep(folder: Path) -> None:
    """Runs both until SIGTERM or SIGINT, or until one ends by itself (UnavailableError)."""
    if not folder.is_absolute():
        raise InvalidInputError(f"--folder {folder}: write an absolute path")
    kafka, minio = KafkaServer(folder / "kafka"), MinioServer(folder / "minio")
    signal.signal(signal.SIGTERM, _leave)
    try:
        for server in (kafka, minio):
            server.launch()
        for server in (kafka, minio):
            server.wait_ready()
        _write_state(folder, kafka, minio)
        _watch([kafka, minio])
    finally:
        for server in (minio, kafka):
            server.stop()
        _state_file(folder).unlink(missing_ok=True)


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _watch(servers: list[LocalServer]) -> None:
    while all(server.pid for server in servers):
        time.sleep(1.0)
    ended = next(server for server in servers if not server.pid)
    raise UnavailableError(f"{ended.name} ended by itself; {ended.log} ends with:\n{ended.last_words()}")


def _write_state(folder: Path, kafka: KafkaServer, minio: MinioServer) -> None:
    identity = Identity.of(os.getpid())
    state = {
        "broker": kafka.url,
        "store": minio.url(),
        "keeper": {"pid": os.getpid(), "started": identity.started if identity else 0},
        "kafka": kafka.state() | {"address": kafka.address},
        "minio": minio.state() | {"address": minio.endpoint},
    }
    partial = _state_file(folder).with_suffix(".partial")
    partial.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    partial.replace(_state_file(folder))


def _state_file(folder: Path) -> Path:
    return folder / "services.json"
