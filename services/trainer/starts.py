"""The starts of a run's jobs, as its history tells them: each once, and its end once.

A start is told after it was made, under the uid that its place gave it. So whoever takes a run over knows which start
has no end yet, and whether what it finds there is that start, one that nobody has told of, or neither. Of one job no
two starts are at work at a time: an end is that of the start before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from retrograde.v1 import run_pb2
from services.trainer.launch import JobHandle, JobState, JobStatus


class RunHistory(Protocol):
    """What happened to a run. What was told is among `events` from then on."""

    async def tell(self, event: run_pb2.RunEvent) -> None:
        """Keeps the event."""

    async def events(self) -> list[run_pb2.RunEvent]:
        """All that was told, by whatever trainer. Raises UnavailableError."""

    async def check(self) -> None:
        """Raises FencedError once the run is another trainer's."""


@dataclass(frozen=True, slots=True)
class Start:
    """The latest start of a job; the attempt 0 for one that was never started.

    `uid` is empty in histories that are older than uids. `num_in_stage` counts the starts since the stage at work
    began: what came before a restart is not held against the job.
    """

    job: str
    attempt: int = 0
    uid: str = ""
    has_ended: bool = True
    num_in_stage: int = 0

    def next(self, uid: str) -> Start:
        """The one after it."""
        return Start(self.job, self.attempt + 1, uid, has_ended=False, num_in_stage=self.num_in_stage + 1)

    def is_before(self, status: JobStatus) -> bool:
        """Whether that is of a later start, of which nobody has told."""
        return status.uid not in {"", self.uid} and (self.has_ended or bool(self.uid))

    def told_by(self, status: JobStatus) -> JobStatus:
        """The status if it is this start's; else this one is gone, and another has its name."""
        if status.state is JobState.GONE or self.uid in {"", status.uid}:
            return status
        return JobStatus(JobState.GONE, "another was made in its place", status.log)


def latest(events: Iterable[run_pb2.RunEvent], job: str) -> Start:
    """The latest start of `job`."""
    start = Start(job)
    for event in events:
        if event.HasField("stage_began"):
            start = replace(start, num_in_stage=0)
        elif event.HasField("job_started") and event.job_started.job == job:
            start = start.next(event.job_started.uid)
        elif event.HasField("job_ended") and event.job_ended.job == job:
            start = replace(start, has_ended=True)
    return start


def without_end(events: Iterable[run_pb2.RunEvent], run_id: str) -> list[JobHandle]:
    """The jobs whose latest start has no end in the history."""
    names = dict.fromkeys(event.job_started.job for event in events if event.HasField("job_started"))
    return [JobHandle(run_id, name) for name in names if not latest(events, name).has_ended]
