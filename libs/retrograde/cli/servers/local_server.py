"""One server process of this machine: started, waited for until it answers, stopped, killed, started again.

It keeps its ports and its data over a restart, writes to a log of its own, and ends when the thread that started it
does: start it from a thread that lives as long as the server is wanted.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from retrograde.cli.children import Identity, last_words
from retrograde.cli.topology import free_ports, is_free
from retrograde.runtime.errors import UnavailableError
from retrograde.runtime.lifeline import die_with_parent

HOST = "127.0.0.1"
START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_LOOK_EVERY_SECONDS = 0.1


class LocalServer:
    """A server in `folder`: its data, its log `<name>.log` and `ports.json`. Subclasses say what to run."""

    name = "server"
    num_ports = 1
    end_with_parent = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.ports = self._kept_ports()

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The process's, 0 when none runs."""
        return self.process.pid if self.process is not None and self.process.poll() is None else 0

    def start(self) -> Self:
        """Starts it and returns once it answers. Raises UnavailableError with the end of its log if it does not."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Starts it without waiting."""
        self.prepare()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=dict(self.environment()),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, self.end_with_parent),  # noqa: PLW1509 - one system call, no lock
            )

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Returns once it answers; one that ends or stays silent raises UnavailableError."""
        end = time.monotonic() + seconds
        while not (_listens(self.ports[0]) and self.answers()):
            if not self.pid:
                raise UnavailableError(f"{self.name} ended while starting; {self.log} ends with:\n{self.last_words()}")
            if time.monotonic() > end:
                self.kill()
                raise UnavailableError(f"{self.name} does not answer after {seconds:.0f} s; see {self.log}")
            time.sleep(_LOOK_EVERY_SECONDS)

    def stop(self, grace_seconds: float = _STOP_SECONDS) -> None:
        """SIGTERM, then SIGKILL once the grace is over."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace_seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Stops and starts it again, on the same ports and data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def state(self) -> dict[str, object]:
        """How it is found again."""
        identity = Identity.of(self.pid) if self.pid else None
        return {"pid": self.pid, "started": identity.started if identity else 0, "folder": str(self.folder)}

    def last_words(self) -> str:
        """The end of its log."""
        return last_words(self.log)

    def prepare(self) -> None:
        """Makes what it needs before it starts."""

    def command(self) -> Sequence[str]:
        """What to run."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Its environment."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it serves; called once its first port listens."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _kept_ports(self) -> list[int]:
        """Those of an earlier start in this folder while they are free, else free ones."""
        file = self.folder / "ports.json"
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(file.read_text(encoding="utf-8"))
            if len(kept) == self.num_ports and all(is_free(port) for port in kept):
                return [int(port) for port in kept]
        ports = free_ports(self.num_ports)
        file.write_text(json.dumps(ports), encoding="utf-8")
        return ports


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
