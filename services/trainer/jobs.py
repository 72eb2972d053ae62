"""A job brought to its end: started, waited for, started again after a failure. Each start is told to the history.

Cancelling `run_job` leaves the job alone: whoever ends a run ends its jobs with `end_jobs`, and a trainer that is
restarted finds those that outlived it at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from retrograde.runtime import metrics
from retrograde.runtime.errors import InvalidInputError, RetrogradeError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.v1 import run_pb2
from services.trainer.launch import Job, JobHandle, JobState, JobStatus, LaunchBackend

T = TypeVar("T")
Tell = Callable[[run_pb2.RunEvent], Awaitable[None]]
See = Callable[[JobStatus], None]

_log = get_logger(__name__)
_LOOK_EVERY_SECONDS = 0.5
_PAUSE_SECONDS = 1.0
_LAST_LINES = 12
_OUTCOMES = {
    JobState.SUCCEEDED: run_pb2.JOB_OUTCOME_SUCCEEDED,
    JobState.REFUSED: run_pb2.JOB_OUTCOME_REFUSED,
    JobState.FAILED: run_pb2.JOB_OUTCOME_FAILED,
    JobState.GONE: run_pb2.JOB_OUTCOME_FAILED,
}
_ATTEMPTS = metrics.counter("trainer", "job_attempts_total", "Starts of training jobs that ended", ("outcome",))
for _state in _OUTCOMES:
    _ATTEMPTS.labels(_state.value)  # at 0, or nobody sees the first one rise


class JobFailedError(RetrogradeError):
    """A job ended badly more often than allowed; the message carries its last words."""


async def run_job(backend: LaunchBackend, job: Job, attempts: int, tell: Tell, see: See = lambda _status: None) -> None:
    """Returns when the job is done; `see` gets how it stands at each look.

    Raises InvalidInputError when it refuses its input, JobFailedError.
    """
    for attempt in range(1, attempts + 1):
        status = await _attempt(backend, job, attempt, tell, see)
        if status.state is JobState.SUCCEEDED:
            return
        if status.state is JobState.REFUSED:
            words = await _patiently(lambda: backend.tail(job.handle, 1))
            raise InvalidInputError(f"job {job.name} refused its input: {words}")
        _log.warning("job ended", job=job.name, reason=status.reason, attempt=attempt, log=status.log)
        await asyncio.sleep(_PAUSE_SECONDS * attempt)
    words = await _patiently(lambda: backend.tail(job.handle, _LAST_LINES))
    raise JobFailedError(
        f"job {job.name} failed {attempts} times, last by {status.reason}; {status.log} ends:\n{words}"
    )


async def end_jobs(backend: LaunchBackend, run_id: str, tell: Tell) -> None:
    """Ends what still works for the run."""
    for handle in await backend.running():
        if handle.run_id == run_id:
            await backend.cancel(handle)
            ended = run_pb2.JobEnded(job=handle.name, outcome=run_pb2.JOB_OUTCOME_CANCELLED, reason="its run ended")
            await tell(run_pb2.RunEvent(job_ended=ended))
            _ATTEMPTS.labels("cancelled").inc()


async def _attempt(backend: LaunchBackend, job: Job, attempt: int, tell: Tell, see: See) -> JobStatus:
    """One start, or the one that is at work already, up to its end."""
    if job.handle not in await backend.running():
        started = run_pb2.JobStarted(job=job.name, attempt=attempt, num_processes=job.num_processes)
        await tell(run_pb2.RunEvent(job_started=started))
    await backend.launch(job)  # of one at work it makes what an interrupted launch left out
    status = await _ended(backend, job.handle, see)
    ended = run_pb2.JobEnded(job=job.name, attempt=attempt, outcome=_OUTCOMES[status.state], reason=status.reason)
    await tell(run_pb2.RunEvent(job_ended=ended))
    _ATTEMPTS.labels(status.state.value).inc()
    return status


async def _ended(backend: LaunchBackend, handle: JobHandle, see: See) -> JobStatus:
    while True:
        status = await _patiently(lambda: backend.status(handle))
        see(status)
        if status.state is not JobState.RUNNING:
            return status
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer about a job that was started; to give up here would be to count its starts anew."""
    while True:
        try:
            return await ask()
        except UnavailableError as error:
            _log.warning("the jobs' place does not answer", reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)
