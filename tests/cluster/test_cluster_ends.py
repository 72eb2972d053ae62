"""A cluster ends with whoever started it, however that ends, and when it is told to, also while it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from retrograde.cli.children import Identity
from tests.cluster.namespaces import ROOT
from tests.control_plane import until
from tests.servers import need
from tools.cluster.obtain import CONTROL, DEBIAN

PARENT = """
import signal, sys
from pathlib import Path
from tools.cluster.control_plane import ControlPlane
with ControlPlane(Path(sys.argv[1])) as plane:
    print(*(server.pid for server in plane.servers), flush=True)
    signal.pause()
"""


def test_a_control_plane_ends_with_its_parent(tmp_path: Path) -> None:
    """After kill -9 of the process that started a control plane, none of its four servers is left."""
    need(CONTROL.folder)
    need(DEBIAN.folder)
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        servers = [Identity.of(int(pid)) for pid in parent.stdout.readline().split()]
        os.kill(parent.pid, signal.SIGKILL)
    assert len(servers) == 4
    assert None not in servers
    until(lambda: not any(server and server.lives() for server in servers), "the end of all servers")


def test_down_ends_a_start(tmp_path: Path) -> None:
    """`down` while `up` is starting servers ends keeper and servers; `up` fails."""
    need(CONTROL.folder)
    need(DEBIAN.folder)
    command = [sys.executable, "-m", "tools.cluster", "{}", "--folder", str(tmp_path)]
    with subprocess.Popen([each.format("up") for each in command], cwd=ROOT, stderr=subprocess.DEVNULL) as starting:
        until((tmp_path / "control" / "etcd").exists, "the start of etcd")
        assert not (tmp_path / "cluster.json").exists()
        kept = json.loads((tmp_path / "keeper.json").read_text(encoding="utf-8"))
        ended = subprocess.run([each.format("down") for each in command], cwd=ROOT, capture_output=True, check=False)
    assert (ended.stdout, ended.returncode, starting.returncode) == (b"ended\n", 0, 1)
    assert not Identity(kept["pid"], kept["started"]).lives()
    assert not [each for each in commands() if str(tmp_path) in each]


def commands() -> Iterator[str]:
    """The command lines of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(encoding="utf-8", errors="replace")
