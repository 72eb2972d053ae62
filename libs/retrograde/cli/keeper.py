"""Programs in the background: a process of its own, the keeper, starts them, waits, and ends them when told to.

    up       starts a keeper, unless one is at it, and waits until what it keeps answers
    down     ends the keeper, also one that is still starting, and what it keeps with it
    keeping  is around what the keeper does: SIGTERM leaves it as an exception, so that everything is closed

`FOLDER/keeper.json` names the keeper from its start on. The state file says how what it keeps is reached, once that
answers, and is gone when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograde.cli.children import Identity
from retrograde.runtime.errors import UnavailableError

_LOOK_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Keeper:
    """That of `folder`: `python -m module keep --folder FOLDER`. `kept` is what messages call what it keeps."""

    folder: Path
    module: str
    kept: str
    state_name: str
    up_seconds: float
    stop_seconds: float

    def up(self, arguments: Sequence[str] = ()) -> dict[str, Any]:
        """The state once all answers; what runs already is left as it is. Raises UnavailableError when it does not."""
        if (state := self.running()) is not None:
            return state
        process = None if self._process() else self._start(arguments)
        end = time.monotonic() + self.up_seconds
        while (state := self.running()) is None:
            if process.poll() is not None if process else self._process() is None:
                raise UnavailableError(self._last_words())
            if time.monotonic() > end:
                self.down()
                raise UnavailableError(f"no answer of {self.kept} after {self.up_seconds:.0f} s; see {self._log}")
            time.sleep(_LOOK_EVERY_SECONDS)
        return state

    def down(self) -> bool:
        """Ends it, and a start of it; False when there is none. Raises UnavailableError when it does not end."""
        if (keeper := self._process()) is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper.pid, signal.SIGTERM)
        end = time.monotonic() + self.stop_seconds
        while keeper.lives():
            if time.monotonic() > end:
                raise UnavailableError(
                    f"process {keeper.pid} does not end after {self.stop_seconds:.0f} s; see {self.folder}"
                )
            time.sleep(_LOOK_EVERY_SECONDS)
        return True

    def running(self) -> dict[str, Any] | None:
        """How what it keeps is reached; None while that does not answer, or when the keeper does not live."""
        state = _read(self._state)
        return state if state and _identity(state["keeper"]).lives() else None

    @contextlib.contextmanager
    def keeping(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Around the keeper's work, in its own process; gives what it calls with the state once all answers."""
        signal.signal(signal.SIGTERM, _leave)
        try:
            yield lambda state: _write(self._state, {**state, "keeper": _told(os.getpid())})
        finally:
            self._state.unlink(missing_ok=True)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", self.module, "keep", "--folder", str(self.folder), *arguments]
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _write(self.folder / "keeper.json", _told(process.pid))
        return process

    def _process(self) -> Identity | None:
        """The keeper, where one lives."""
        told = _read(self.folder / "keeper.json")
        identity = _identity(told) if told else None
        return identity if identity and identity.lives() else None

    def _last_words(self) -> str:
        words = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return words.removeprefix("error: ") or f"{self.kept}: ended while starting; see {self._log}"

    @property
    def _log(self) -> Path:
        return self.folder / "keeper.log"

    @property
    def _state(self) -> Path:
        return self.folder / self.state_name


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _told(pid: int) -> dict[str, int]:
    identity = Identity.of(pid)
    return {"pid": pid, "started": identity.started if identity else 0}


def _identity(told: Mapping[str, int]) -> Identity:
    return Identity(told["pid"], told["started"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _write(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
