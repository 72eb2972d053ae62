"""The supervisor over a real service process: restarts, refusals, giving up, and what survives a kill -9 of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrograde.cli import supervisor as module
from retrograde.cli.backends import Backends
from retrograde.cli.children import Child, Identity, end_left_over
from retrograde.cli.supervisor import ServiceFailedError, Supervisor, wait_serving
from retrograde.cli.topology import Topology, health_service
from retrograde.runtime.errors import InvalidInputError

_ALONE = """
import asyncio, sys
from pathlib import Path
from retrograde.cli.backends import Backends
from retrograde.cli.supervisor import Supervisor
from retrograde.cli.topology import Topology

async def main():
    folder = Path(sys.argv[1])
    topology = Topology(folder, Backends.within(folder), "/none", 64, drain_seconds=2.0, services=("verifier",))
    async with Supervisor(topology):
        print("serving", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def topology(folder: Path) -> Topology:
    """The verifier alone: a real service that starts in seconds."""
    return Topology(folder, Backends.within(folder), "/none", 64, drain_seconds=2.0, services=("verifier",))


def state(folder: Path) -> dict:
    """What `retrograde status` reads."""
    return json.loads((folder / "supervisor.json").read_text("utf-8"))["services"]["verifier"]


async def until(condition, seconds: float = 60.0) -> None:  # noqa: ANN001 - a callable of no arguments
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        await asyncio.sleep(0.05)


async def test_a_killed_service_serves_again_at_its_address(tmp_path: Path) -> None:
    """After kill -9 the service is started again, where it was, and the restart is counted."""
    async with Supervisor(topology(tmp_path)) as supervisor:
        first = state(tmp_path)
        os.kill(first["pid"], signal.SIGKILL)
        await until(lambda: state(tmp_path)["pid"] != first["pid"])
        assert await wait_serving(supervisor.addresses["verifier"], health_service("verifier"), 60.0)
        await until(lambda: state(tmp_path)["state"] == "serving")
        assert state(tmp_path)["restarts"] == 1
        assert state(tmp_path)["address"] == first["address"]
        assert not supervisor.failure.done()
    assert Identity.of(state(tmp_path)["pid"]) is None


async def test_a_service_that_keeps_dying_is_given_up_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More deaths than allowed end in an error that shows the end of the service's log."""
    monkeypatch.setattr(module, "MAX_RESTARTS", 0)
    async with Supervisor(topology(tmp_path)) as supervisor:
        os.kill(state(tmp_path)["pid"], signal.SIGKILL)
        with pytest.raises(ServiceFailedError, match=r"verifier ended once, last with status -9.*\n.*ready"):
            await asyncio.wait_for(supervisor.failure, 30.0)


async def test_refused_settings_are_final(tmp_path: Path) -> None:
    """A service that leaves with status 2 is not started again; its own line says why."""
    bad = Topology(tmp_path, Backends.within(tmp_path), "/none", 64, task="no.such.task", services=("verifier",))
    with pytest.raises(InvalidInputError, match=r"verifier: .*no\.such\.task"):
        async with Supervisor(bad):
            pass


async def test_services_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """After kill -9 of the supervisor its services end by themselves, and a new one starts in the same folder."""
    other = subprocess.Popen([sys.executable, "-c", _ALONE, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout
    assert await asyncio.to_thread(other.stdout.readline) == b"serving\n"
    service = Identity.of(state(tmp_path)["pid"])
    assert service
    other.kill()
    other.wait()
    other.stdout.close()
    async with Supervisor(topology(tmp_path)) as supervisor:
        assert not service.lives()
        assert await wait_serving(supervisor.addresses["verifier"], health_service("verifier"), 5.0)


async def test_what_hangs_after_a_crash_is_ended_first(tmp_path: Path) -> None:
    """A left-over service that does not mind SIGTERM is killed before its successor starts."""
    config = tmp_path / "services" / "deaf.yaml"
    child = Child("deaf", "services.deaf", config, tmp_path / "log")
    config.parent.mkdir()
    words = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", words, str(config)], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    identity = Identity.of(process.pid)
    assert identity
    child.pid_file.write_text(json.dumps([identity.pid, identity.started]), "utf-8")
    assert await asyncio.to_thread(end_left_over, config, 0.3)
    assert process.wait(5.0) == -signal.SIGKILL
    process.stdout.close()


async def test_a_reused_pid_is_left_alone(tmp_path: Path) -> None:
    """A process with the pid of a remembered child, but another start time or command, is never signalled."""
    config = tmp_path / "verifier.yaml"
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    identity = Identity.of(process.pid)
    assert identity
    for record in ([identity.pid, identity.started - 1], [identity.pid, identity.started]):
        config.with_suffix(".pid").write_text(json.dumps(record), "utf-8")
        assert not end_left_over(config, 0.1)
        assert process.poll() is None
    process.kill()
    process.wait()
