"""LaunchBackend on this machine: torchrun for several ranks, the module itself for one."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from retrograde.runtime.lifeline import die_with_parent
from retrograde.runtime.settings import BAD_INPUT_STATUS
from services.trainer.launch import Job, JobHandle, JobState, JobStatus


@dataclass(frozen=True, slots=True)
class LocalBackend:
    """Child processes. They end when it is left, and with this process however that ends. A context manager.

    Configurations and logs are in `work_dir/<run>/<job>.{yaml,log}`.
    """

    work_dir: Path
    grace_seconds: float = 10.0
    _processes: dict[JobHandle, asyncio.subprocess.Process] = field(default_factory=dict)
    _uids: dict[JobHandle, str] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self.cancel(handle) for handle in self._processes))

    async def launch(self, job: Job, after: str = "") -> str:
        """See LaunchBackend."""
        if self._uids.get(job.handle, after) != after:
            return self._uids[job.handle]
        await self.cancel(job.handle)
        config = self._file(job.handle, "yaml")
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump(job.config.model_dump(mode="json")), encoding="utf-8")
        with self._file(job.handle, "log").open("ab") as log:
            self._processes[job.handle] = await asyncio.create_subprocess_exec(
                *_command(job, config), stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        self._uids[job.handle] = secrets.token_hex(8)
        return self._uids[job.handle]

    async def status(self, handle: JobHandle) -> JobStatus:
        """See LaunchBackend."""
        process, log = self._processes.get(handle), str(self._file(handle, "log"))
        if process is None:
            return JobStatus(JobState.GONE, "the trainer was restarted", log)
        uid = self._uids[handle]
        if process.returncode is None:
            return JobStatus(JobState.RUNNING, log=log, uid=uid)
        return JobStatus(_state(process.returncode), _reason(process.returncode), log, uid)

    async def tail(self, handle: JobHandle, num_lines: int) -> str:
        """See LaunchBackend."""
        log = self._file(handle, "log")
        if not log.exists():
            return ""
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-num_lines:])

    async def cancel(self, handle: JobHandle) -> None:
        """See LaunchBackend."""
        process = self._processes.get(handle)
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.grace_seconds)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def running(self) -> list[JobHandle]:
        """See LaunchBackend."""
        return [handle for handle, process in self._processes.items() if process.returncode is None]

    def _file(self, handle: JobHandle, ending: str) -> Path:
        return self.work_dir / handle.run_id / f"{handle.name}.{ending}"


def _command(job: Job, config: Path) -> list[str]:
    if job.num_processes == 1:
        return [sys.executable, "-m", job.module, "--config", str(config)]
    launcher = [sys.executable, "-m", "services.trainer.job.launcher", "--standalone"]
    return [*launcher, "--nproc-per-node", str(job.num_processes), "-m", job.module, "--config", str(config)]


def _state(status: int) -> JobState:
    if status == 0:
        return JobState.SUCCEEDED
    return JobState.REFUSED if status == BAD_INPUT_STATUS else JobState.FAILED


def _reason(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"
