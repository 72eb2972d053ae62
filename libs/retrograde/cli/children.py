"""One child process of the supervisor, and how to know it again after a crash.

A pid alone names nobody: it is reused. A child is remembered in `<name>.pid` as (pid, start time of the kernel), and
is signalled by a later supervisor only when both still agree and its command line still names the same config file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from retrograde.runtime.lifeline import die_with_parent

_LAST_LINES = 12
_LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told from a later one with the same pid by `started`: clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process with this pid, or None if there is none (or it is a zombie)."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else cls(pid, int(fields[19]))

    def lives(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def command(self) -> str:
        """Its command line, "" when it is gone."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""


@dataclass(slots=True)
class Child:
    """`python -m module --config file`, its log and its pid file."""

    name: str
    module: str
    config: Path
    log: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def pid_file(self) -> Path:
        """Where it is remembered."""
        return self.config.with_suffix(".pid")

    async def start(self) -> asyncio.subprocess.Process:
        """Starts it in a session of its own (a Ctrl-C of the terminal is not its business), to die with its parent."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                "--config",
                str(self.config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        identity = Identity.of(self.process.pid)
        if identity is not None:
            self.pid_file.write_text(json.dumps([identity.pid, identity.started]), encoding="utf-8")
        return self.process

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL once the grace is over."""
        if self.process is None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.process.wait(), grace_seconds)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.process.wait()
        self.pid_file.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Signals it if it runs."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def last_words(self) -> str:
        """The end of its log."""
        return last_words(self.log)


def last_words(log: Path) -> str:
    """The end of a log; "" where there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_LAST_LINES:])


def end_left_over(config: Path, grace_seconds: float) -> bool:
    """Ends what an earlier supervisor started with `config` and left behind; whether there was anything."""
    identity = remembered(config.with_suffix(".pid"))
    if identity is None or not identity.lives() or str(config) not in identity.command():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(identity.pid, signal.SIGTERM)
    if not _gone(identity, grace_seconds):
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGKILL)
        _gone(identity, grace_seconds)
    return True


def remembered(pid_file: Path) -> Identity | None:
    """The process a pid file names."""
    try:
        pid, started = json.loads(pid_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Identity(int(pid), int(started))


def _gone(identity: Identity, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while identity.lives():
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_EVERY_SECONDS)
    return True
