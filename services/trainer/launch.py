"""How a training job is started: the LaunchBackend port.

A job is a module with a configuration. It keeps its state in the store and ends with status 0 once its checkpoint is
there, so it may be started again at any time: it continues where it was. A backend knows jobs by their handles, which
derive from run and name: whoever restarts finds by `running` what still works, and launching it again is harmless.
Each start of a job has a uid, by which a run's history (`starts`) tells it from the one before under the same name.

    local       child processes of this machine (`local_backend`); they end with the trainer
    cluster     Jobs or JobSets (`kubernetes.backend`), which outlive it; the handle becomes their names and labels
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pydantic import BaseModel


class JobHandle(NamedTuple):
    """A job's name everywhere: `name` is unique in its run."""

    run_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Job:
    """`module` started `num_processes` times with `config`."""

    run_id: str
    name: str
    module: str
    config: BaseModel
    num_processes: int

    @property
    def handle(self) -> JobHandle:
        """How its backend knows it."""
        return JobHandle(self.run_id, self.name)


class JobState(enum.Enum):
    """How the latest start of a job stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"  # its input is wrong: starting it again does not help
    GONE = "gone"  # nobody knows it: its machine was lost, or it was never started


@dataclass(frozen=True, slots=True)
class JobStatus:
    """`reason` says how it ended, or what one at work waits for; `log` where people find what it wrote.

    `uid` is that of the start it is about, "" where there is none.
    """

    state: JobState
    reason: str = ""
    log: str = ""
    uid: str = ""


class LaunchBackend(Protocol):
    """Runs jobs somewhere. UnavailableError: that place does not answer; the same call may be made again."""

    async def launch(self, job: Job, after: str = "") -> str:
        """Starts it and returns the start's uid; one that is there is left as it is, at work or not.

        Only the start of the uid `after`, whose end is known, is taken away before. So a launch can be made again, by
        anybody: it makes what an interrupted one left out, and no end is lost that nobody has told. Cancelled, it
        returns when nothing is being made any more.
        """

    async def status(self, handle: JobHandle) -> JobStatus:
        """How it stands now."""

    async def tail(self, handle: JobHandle, num_lines: int) -> str:
        """The last lines of its log; "" where there are none."""

    async def cancel(self, handle: JobHandle) -> None:
        """Ends its processes, by force once the backend's grace is over. One that does not run is fine."""

    async def running(self) -> list[JobHandle]:
        """All jobs at work, also those that an earlier life of this trainer started."""
