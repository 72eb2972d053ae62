"""`retrograde up`, `down` and `status`: the same supervisor in the background, known by `DIR/supervisor.json`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from retrograde.cli.children import Identity
from retrograde.cli.running import Interrupts, until_failure
from retrograde.cli.supervisor import START_SECONDS, Supervisor
from retrograde.cli.topology import Topology
from retrograde.runtime.errors import InvalidInputError, NotFoundError, UnavailableError
from retrograde.runtime.settings import BAD_INPUT_STATUS

_LOOK_EVERY_SECONDS = 0.2
_STOP_SECONDS = 60.0


async def serve(topology: Topology, port_base: int) -> None:
    """Runs the services until told to stop. Raises what made a service fail."""
    supervisor = Supervisor(topology, port_base)
    interrupts = Interrupts(at_once=supervisor.kill)
    with interrupts.caught():
        interrupts.work = work = asyncio.create_task(_serve(supervisor))
        try:
            await work
        except asyncio.CancelledError:
            if not interrupts.count:
                raise


async def _serve(supervisor: Supervisor) -> None:
    async with supervisor:
        await until_failure(supervisor, _for_ever())


async def _for_ever() -> None:
    await asyncio.Event().wait()


def start(folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Starts `retrograde up --foreground` with these arguments, detached; its state once all services serve.

    Raises InvalidInputError or UnavailableError with its last line when it ends before that.
    """
    log_file = folder / "logs" / "supervisor.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "retrograde.cli", "up", "--foreground", *arguments]
    with log_file.open("ab") as log:
        begun = log.tell()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    end = time.monotonic() + 2 * START_SECONDS
    while time.monotonic() < end:
        status = process.poll()
        if status is not None:
            words = log_file.read_bytes()[begun:].decode(errors="replace").strip() or f"ended with status {status}"
            error = InvalidInputError if status == BAD_INPUT_STATUS else UnavailableError
            raise error(words.removeprefix("error: "))
        state = read_state(folder)
        if state and state["pid"] == process.pid and state["state"] == "serving":
            return state
        time.sleep(_LOOK_EVERY_SECONDS)
    process.terminate()
    raise UnavailableError(f"the services do not serve after {2 * START_SECONDS:.0f} s; see {log_file}")


def stop(folder: Path) -> str:
    """Ends the supervisor of `folder` and with it the services. Raises NotFoundError when none runs."""
    state = read_state(folder)
    if state is None or not is_alive(state):
        raise NotFoundError(f"--out {folder}: nothing runs there; `retrograde up` starts it")
    identity = Identity(state["pid"], state["started"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(identity.pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_SECONDS
    while identity.lives():
        if time.monotonic() > end:
            os.kill(identity.pid, signal.SIGKILL)
            return "killed after the grace; what its services held is continued by the next start"
        time.sleep(_LOOK_EVERY_SECONDS)
    return "stopped"


def read_state(folder: Path) -> dict[str, Any] | None:
    """What the supervisor last wrote, or None."""
    try:
        state: dict[str, Any] = json.loads((folder / "supervisor.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state


def is_alive(state: dict[str, Any]) -> bool:
    """Whether the supervisor that wrote this state still runs."""
    return Identity(state["pid"], state["started"]).lives()


def serving_addresses(folder: Path) -> dict[str, str] | None:
    """Addresses by service if a supervisor of `folder` serves now."""
    state = read_state(folder)
    if state is None or state["state"] != "serving" or not is_alive(state):
        return None
    return {name: service["address"] for name, service in state["services"].items()}


def view(folder: Path, state: dict[str, Any]) -> Table:
    """The state as it is printed."""
    alive = is_alive(state)
    word = state["state"] if alive else "gone"
    table = Table(title=f"{folder}: {word}, supervisor {state['pid']}", title_justify="left", box=None)
    for head in ("service", "state", "address", "pid", "restarts"):
        table.add_column(head)
    for name, service in state["services"].items():
        shown = service["state"] if alive else "gone"
        table.add_row(name, shown, service["address"], str(service["pid"]), str(service["restarts"]))
    return table


def need_state(folder: Path) -> dict[str, Any]:
    """The state of `folder`. Raises NotFoundError when nothing was ever started there."""
    state = read_state(folder)
    if state is None:
        raise NotFoundError(f"--out {folder}: nothing was started there; `retrograde up` or `retrograde run` does")
    return state
