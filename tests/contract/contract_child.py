"""A real process that a contract test starts, listens to, freezes and kills."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal


class Child:
    """A real process running one of the programs of contract_programs.py; its lines are what it did."""

    def __init__(self, *arguments: str) -> None:
        program = Path(__file__).with_name("contract_programs.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def say(self, text: str) -> None:
        """Gives it one line."""
        assert self._process.stdin
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def line(self) -> str:
        """Its next line; waits for it."""
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def lines(self) -> list[str]:
        """All that is left of its output; waits for its end."""
        assert self._process.stdout
        lines = self._process.stdout.read().splitlines()
        self._process.wait()
        return lines

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill -9, and waits until it is gone."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ends it if it still runs."""
        self.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
