"""The fork server seen from outside: starts it, asks it for children, starts it again when it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.sandbox.forkserver import MAX_MESSAGE_BYTES, READY
from retrograde.sandbox.limits import Limits
from retrograde.sandbox.progress import Progress, progress_file

_WARM_UP_SECONDS = 60.0
_FORK_SECONDS = 10.0
_LAST_REAP_SECONDS = 2.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Newborn:
    """A child just forked: its pid, the fork server it is a child of, our end of its connection, its progress."""

    pid: int
    parent: subprocess.Popen[bytes]
    connection: socket.socket
    progress: Progress


class Nursery:
    """`async with Nursery(limits) as nursery: newborn = await nursery.fork()`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = asyncio.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._stop)

    @property
    def pid(self) -> int | None:
        """Of the fork server."""
        return self._server.pid if self._server else None

    async def fork(self) -> Newborn:
        """A new child. Raises UnavailableError when even a new fork server gives none."""
        async with self._lock:
            try:
                return await asyncio.to_thread(self._fork)
            except (OSError, ValueError) as error:
                _log.warning("fork server lost, starting another", reason=str(error))
            await asyncio.to_thread(self._stop)
            try:
                await asyncio.to_thread(self._start)
                return await asyncio.to_thread(self._fork)
            except (OSError, ValueError) as error:
                raise UnavailableError(f"no grading process can be started: {error}") from error

    def reap(self, newborn: Newborn) -> None:
        """The child has ended and nobody will signal it any more. Those of a lost fork server are the system's."""
        if self._control is not None and newborn.parent is self._server:
            with contextlib.suppress(OSError):
                self._control.send(f"reap {newborn.pid}".encode())

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with theirs:
            self._server = subprocess.Popen(
                self._command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal is for the service, which drains
            )
        self._control = ours
        ours.settimeout(_WARM_UP_SECONDS)
        if ours.recv(MAX_MESSAGE_BYTES) != READY:
            self._stop()
            raise InvalidInputError(
                f"tasks: {list(self._limits.tasks)} cannot all be loaded (see the error above); name importable task "
                "modules"
            )
        ours.settimeout(_FORK_SECONDS)

    def _command(self, fileno: int) -> list[str]:
        niceness = str(self._limits.niceness)
        return [sys.executable, "-m", "retrograde.sandbox.forkserver", str(fileno), niceness, *self._limits.tasks]

    def _fork(self) -> Newborn:
        if self._control is None or self._server is None:
            raise OSError("not started")
        ours, theirs = socket.socketpair()
        with theirs, progress_file() as file, contextlib.ExitStack() as on_failure:
            on_failure.callback(ours.close)
            request = f"fork {self._limits.memory_bytes}".encode()
            socket.send_fds(self._control, [request], [theirs.fileno(), file.fileno()])
            pid = int(self._control.recv(MAX_MESSAGE_BYTES))
            newborn = Newborn(pid, self._server, ours, Progress(file.fileno()))
            on_failure.pop_all()
            return newborn

    def _stop(self) -> None:
        """Ends the fork server once it has reaped what it was told to; then all that is left of it."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(_LAST_REAP_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None
