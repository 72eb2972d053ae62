"""A cluster in the background: one process starts it, waits, and ends it when it is told to or dies.

`FOLDER/cluster.json` says how it is reached, and which process keeps it; it is gone once the cluster is.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from retrograde.cli.children import Identity
from retrograde.runtime.errors import NotFoundError, UnavailableError
from tools.cluster.control_plane import ControlPlane
from tools.cluster.obtain import CONTROL
from tools.cluster.real_node import RealNode, enter

_UP_SECONDS = 360.0
_STOP_SECONDS = 120.0
_LOOK_EVERY_SECONDS = 0.2


def up(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """The state once it answers; what runs already is left as it is. Raises UnavailableError when it does not."""
    if (state := running(folder)) is not None:
        return state
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / "keeper.log"
    command = [sys.executable, "-m", "tools.cluster", "keep", "--folder", str(folder), *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + _UP_SECONDS
    while (state := running(folder)) is None:
        if process.poll() is not None:
            words = log_file.read_text(encoding="utf-8", errors="replace").strip()
            raise UnavailableError(words.removeprefix("error: ") or f"{command} ended with {process.returncode}")
        if time.monotonic() > end:
            process.terminate()
            raise UnavailableError(f"the cluster does not answer after {_UP_SECONDS:.0f} s; see {log_file}")
        time.sleep(_LOOK_EVERY_SECONDS)
    return state


def down(folder: Path) -> bool:
    """Ends it; False when none runs there."""
    if (state := running(folder)) is None:
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
    """How the cluster of `folder` is reached, None when its keeper does not live."""
    try:
        state: dict[str, Any] = json.loads(_state_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if Identity(state["keeper"]["pid"], state["keeper"]["started"]).lives() else None


def within(folder: Path, command: list[str]) -> int:
    """Runs a command in the cluster's network, with kubectl on its path and the administrator's kubeconfig."""
    if (state := running(folder)) is None:
        raise NotFoundError(f"no cluster runs in {folder}: `make cluster-up` starts one")
    path = f"{CONTROL.folder()}:{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": state["kubeconfig"], "PATH": path}
    prefix = enter(state["first"]) if state["first"] else []
    return subprocess.run([*prefix, *command], env=environment, check=False).returncode


def keep(folder: Path, *, node: bool, images: list[Path]) -> None:
    """Runs it until SIGTERM or SIGINT, or until it ends by itself."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        if node:
            _keep_node(folder, images)
        else:
            _keep_control_plane(folder)
    finally:
        _state_file(folder).unlink(missing_ok=True)


def _keep_node(folder: Path, images: list[Path]) -> None:
    with RealNode(folder / "node", images) as cluster:
        _write_state(folder, cluster.kubeconfig, cluster.first())
        while cluster.first():
            time.sleep(1.0)
        raise UnavailableError(f"the cluster ended by itself; see {cluster.log}")


def _keep_control_plane(folder: Path) -> None:
    shutil.rmtree(folder / "control", ignore_errors=True)
    with ControlPlane(folder / "control") as cluster:
        _write_state(folder, cluster.kubeconfig, 0)
        while all(server.pid for server in cluster.servers):
            time.sleep(1.0)
        raise UnavailableError(f"the cluster ended by itself; see {folder}")


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _write_state(folder: Path, kubeconfig: Path, first: int) -> None:
    identity = Identity.of(os.getpid())
    keeper = {"pid": os.getpid(), "started": identity.started if identity else 0}
    partial = _state_file(folder).with_suffix(".partial")
    state = {"kubeconfig": str(kubeconfig), "first": first, "keeper": keeper}
    partial.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    partial.replace(_state_file(folder))


def _state_file(folder: Path) -> Path:
    return folder / "cluster.json"
