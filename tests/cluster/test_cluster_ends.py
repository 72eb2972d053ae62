"""A cluster ends with whoever started it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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
