"""How a training job is started: the LaunchBackend port, and child processes of this machine.

A job is a module with a configuration; it keeps its state in the store and ends with status 0 once its checkpoint is
there, so a backend may start it again at any time: it continues where it was.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml
from pydantic import BaseModel

from retrograde.runtime.errors import InvalidInputError, RetrogradeError
from retrograde.runtime.lifeline import die_with_parent
from retrograde.runtime.logs import get_logger
from retrograde.runtime.settings import BAD_INPUT_STATUS

_log = get_logger(__name__)
_PAUSE_SECONDS = 1.0
_STOP_SECONDS = 10.0
_LAST_LINES = 12


class JobFailedError(RetrogradeError):
    """A job ended badly more often than allowed; the message carries its last words."""


@dataclass(frozen=True, slots=True)
class Job:
    """`module` started `num_processes` times with `config`; `name` is unique in its run."""

    run_id: str
    name: str
    module: str
    config: BaseModel
    num_processes: int


class LaunchBackend(Protocol):
    """Runs jobs somewhere."""

    async def run(self, job: Job) -> None:
        """Returns when the job is done; starts it again after a failure. Cancelling stops it. Raises JobFailedError."""


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """Child processes: torchrun for several ranks, the module itself for one. They die with this process."""

    work_dir: Path
    attempts: int

    async def run(self, job: Job) -> None:
        """See LaunchBackend."""
        folder = self.work_dir / job.run_id
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / f"{job.name}.yaml"
        config.write_text(yaml.safe_dump(job.config.model_dump(mode="json")), encoding="utf-8")
        log_file = folder / f"{job.name}.log"
        for attempt in range(1, self.attempts + 1):
            status = await self._once(job, config, log_file)
            if status == 0:
                return
            if status == BAD_INPUT_STATUS:
                raise InvalidInputError(f"job {job.name} refused its input: {_tail(log_file, 1)}")
            _log.warning("job ended", job=job.name, status=status, attempt=attempt, log=str(log_file))
            await asyncio.sleep(_PAUSE_SECONDS * attempt)
        raise JobFailedError(f"job {job.name} failed {self.attempts} times; {log_file} ends:\n{_tail(log_file)}")

    async def _once(self, job: Job, config: Path, log_file: Path) -> int:
        with log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *_command(job, config), stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        try:
            return await process.wait()
        finally:
            await _stop(process)


def _command(job: Job, config: Path) -> list[str]:
    if job.num_processes == 1:
        return [sys.executable, "-m", job.module, "--config", str(config)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", str(job.num_processes), "-m", job.module, "--config", str(config)]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _tail(log_file: Path, num_lines: int = _LAST_LINES) -> str:
    return "\n".join(log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-num_lines:])
