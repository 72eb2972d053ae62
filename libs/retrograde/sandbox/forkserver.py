"""`python -m retrograde.sandbox.forkserver FD NICENESS TASK...`: imports the tasks once, then forks children when told.

Speaks over the socket FD (SOCK_SEQPACKET). "fork MEMORY_BYTES" with two descriptors (the child's connection, its
progress file) is answered by the child's pid; "reap PID" is not answered. A child stays unreaped until then, so its pid
cannot come to mean another process while somebody may want to kill it. When the socket closes, this process ends and
its children are ended by the kernel.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import signal
import socket
import sys

import retrograde.grading
import retrograde.tasks
from retrograde.sandbox.child import run_child
from retrograde.tasks.task import TaskError, load_task

MAX_MESSAGE_BYTES = 256
READY = b"ready"


def main() -> None:
    """Warms up, says so, serves until the socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(int(sys.argv[2]))
    try:
        _warm(sys.argv[3:])
    except TaskError as error:
        sys.exit(f"error: {error}")
    control.send(READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 2)
        if not message:
            return
        verb, _, argument = message.decode().partition(" ")
        if verb == "fork":
            control.send(str(_fork(control, list(descriptors), int(argument))).encode())
        else:
            _reap(int(argument))


def _warm(tasks: list[str]) -> None:
    """Imports what children need, and moves it where the garbage collector does not copy it page by page."""
    for package in (retrograde.grading, retrograde.tasks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in tasks:
        load_task(name)
    gc.collect()
    gc.freeze()


def _fork(control: socket.socket, descriptors: list[int], memory_bytes: int) -> int:
    pid = os.fork()
    if pid:
        for descriptor in descriptors:
            os.close(descriptor)
        return pid
    status = 1
    try:
        control.close()
        connection, progress = descriptors
        run_child(socket.socket(fileno=connection), progress, memory_bytes)
        status = 0
    finally:
        os._exit(status)


def _reap(pid: int) -> None:
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
