"""A service as process 1, as in its container."""

from __future__ import annotations

import subprocess
import sys

STOPPED_AT_ONCE = """
import os, signal, time
import services
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


def test_a_service_told_to_stop_as_it_starts_leaves() -> None:
    """SIGTERM ends process 1 before it serves, though the kernel passes it no signal that it does not handle."""
    command = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", sys.executable, "-c", STOPPED_AT_ONCE]
    assert subprocess.run(command, timeout=120, check=False).returncode == 128 + 15
