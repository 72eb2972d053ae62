"""A cluster in the background: one process starts it, waits, and ends it when it is told to or dies.

`FOLDER/cluster.json` says how it is reached, and which process keeps it; it is gone once the cluster is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from retrograde.cli.keeper import Keeper
from retrograde.runtime.errors import NotFoundError, UnavailableError
from tools.cluster.control_plane import ControlPlane
from tools.cluster.obtain import CONTROL
from tools.cluster.real_node import RealNode, enter

_UP_SECONDS = 360.0
_STOP_SECONDS = 120.0

Tell = Callable[[Mapping[str, Any]], None]


def keeper(folder: Path) -> Keeper:
    """The one of `folder`."""
    return Keeper(folder, "tools.cluster", "the cluster", "cluster.json", _UP_SECONDS, _STOP_SECONDS)


def within(folder: Path, command: list[str]) -> int:
    """Runs a command in the cluster's network, with kubectl on its path and the administrator's kubeconfig."""
    if (state := keeper(folder).running()) is None:
        raise NotFoundError(f"no cluster runs in {folder}: `make cluster-up` starts one")
    path = f"{CONTROL.folder()}:{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": state["kubeconfig"], "PATH": path}
    prefix = enter(state["first"]) if state["first"] else []
    return subprocess.run([*prefix, *command], env=environment, check=False).returncode


def keep(folder: Path, *, node: bool, images: list[Path]) -> None:
    """Runs it until SIGTERM or SIGINT, or until it ends by itself (UnavailableError)."""
    with keeper(folder).keeping() as tell:
        if node:
            _keep_node(folder, images, tell)
        else:
            _keep_control_plane(folder, tell)


def _keep_node(folder: Path, images: list[Path], tell: Tell) -> None:
    with RealNode(folder / "node", images) as cluster:
        tell({"kubeconfig": str(cluster.kubeconfig), "first": cluster.first()})
        while cluster.first():
            time.sleep(1.0)
        raise UnavailableError(f"the cluster ended by itself; see {cluster.log}")


def _keep_control_plane(folder: Path, tell: Tell) -> None:
    shutil.rmtree(folder / "control", ignore_errors=True)
    with ControlPlane(folder / "control") as cluster:
        tell({"kubeconfig": str(cluster.kubeconfig), "first": 0})
        while all(server.pid for server in cluster.servers):
            time.sleep(1.0)
        raise UnavailableError(f"the cluster ended by itself; see {folder}")
