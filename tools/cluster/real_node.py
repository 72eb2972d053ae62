"""A cluster with one real node, from outside: started in namespaces of its own, entered, ended as a whole.

`unshare` makes the namespaces (processes, mounts, network) and dies with the thread that started it; process 1 in
them dies with `unshare`, and the kernel ends the rest: no pod outlives the cluster. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from retrograde.cli.children import Identity, last_words
from retrograde.cli.servers.obtain import missing_tools
from retrograde.runtime.errors import NotFoundError, UnavailableError
from retrograde.runtime.lifeline import die_with_parent
from tools.cluster.obtain import CONTROL, DEBIAN, NODE

_START_SECONDS = 300.0
_LOOK_EVERY_SECONDS = 0.2
_TOOLS = ("unshare", "nsenter", "mount", "ip", "openssl")


def need_node() -> Path:
    """Raises NotFoundError when this machine cannot run a node."""
    if os.geteuid() != 0:
        raise NotFoundError("a real node needs root: namespaces, mounts and cgroups are its own")
    if missing := missing_tools(*_TOOLS):
        raise NotFoundError(f"a real node needs {' and '.join(missing)}: install util-linux, iproute2 and openssl")
    CONTROL.folder()
    DEBIAN.folder()
    return NODE.folder()


class RealNode:
    """The cluster whose data and logs lie in `folder`; `images` are archives its pods may use."""

    def __init__(self, folder: Path, images: Sequence[Path] = ()) -> None:
        self.folder = folder
        self.images = images
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        """Of its administrator; it works inside only, see `enter`."""
        return Path((self.folder / "ready").read_text(encoding="utf-8"))

    @property
    def log(self) -> Path:
        """Where its process 1 writes."""
        return self.folder / "node.log"

    def enter(self) -> list[str]:
        """What to put before a command so that it runs in the node's network."""
        return enter(self.first())

    def first(self) -> int:
        """The pid, as seen from here, of process 1 inside; 0 when it does not run."""
        if self.process is None or self.process.poll() is not None:
            return 0
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return int(children[0]) if children else 0

    def start(self) -> Self:
        """Returns once the node is Ready. Raises UnavailableError with the end of its log if it does not become so."""
        need_node()
        clean(self.folder)
        self.folder.mkdir(parents=True)
        inside = [sys.executable, "-m", "tools.cluster", "inside", str(self.folder.absolute())]
        own = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/unshare", *own, "--", *inside, *(str(image.absolute()) for image in self.images)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_at_once,  # noqa: PLW1509 - one system call, no lock
            )
        self._wait_ready()
        return self

    def stop(self) -> None:
        """Ends all of it at once, and removes what it kept; its logs stay."""
        if self.process is not None:
            first = Identity.of(self.first())
            self.process.kill()
            self.process.wait()
            _await_end(first)
        clean(self.folder, keep_logs=True)

    def _wait_ready(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while not (self.folder / "ready").exists():
            if self.process is None or self.process.poll() is not None:
                self.stop()
                raise UnavailableError(f"the node ended while starting; {self.log} ends with:\n{last_words(self.log)}")
            if time.monotonic() > end:
                self.stop()
                raise UnavailableError(f"the node is not Ready after {_START_SECONDS:.0f} s; see {self.log}")
            time.sleep(_LOOK_EVERY_SECONDS)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


def enter(pid: int) -> list[str]:
    """What to put before a command so that it runs in the network of this process."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]


def clean(folder: Path, *, keep_logs: bool = False) -> None:
    """Removes what a cluster that ended left in `folder` and among the cgroups."""
    for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")):
        for group, _, _ in os.walk(hierarchy / "kubepods", topdown=False):
            with contextlib.suppress(OSError):
                Path(group).rmdir()
    with contextlib.suppress(OSError):
        Path("/var/lib/cni").rmdir()
    with contextlib.suppress(OSError):
        Path("/var/lib/kubelet").rmdir()
    if not keep_logs:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.glob("*/*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _die_at_once() -> None:
    die_with_parent(signal.SIGKILL)


def _await_end(first: Identity | None) -> None:
    """Process 1 is a grandchild: it is gone once the kernel has ended everything in its namespaces."""
    while first is not None and first.lives():
        time.sleep(_LOOK_EVERY_SECONDS)
