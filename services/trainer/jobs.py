"""A job brought to its end: started, waited for, started again after a failure.

Each start is told to the history once it is made, and its end once it is known; both once, also when a call is made
again, the jobs' place does not answer, or another trainer goes on in the midst (`starts`). Cancelling `run_job` leaves
the job alone: whoever ends a run ends its jobs with `end_jobs`, and a trainer that is restarted finds those that
outlived it.
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
from services.trainer.starts import RunHistory, Start, latest, without_end

T = TypeVar("T")
See = Callable[[JobStatus], None]

_log = get_logger(__name__)
_LOOK_EVERY_SECONDS = 0.5
_PAUSE_SECONDS = 1.0
_LAST_LINES = 12
_OUTCOMES = {  # as the history has them, and as the metric
    JobState.SUCCEEDED: (run_pb2.JOB_OUTCOME_SUCCEEDED, "succeeded"),
    JobState.REFUSED: (run_pb2.JOB_OUTCOME_REFUSED, "refused"),
    JobState.FAILED: (run_pb2.JOB_OUTCOME_FAILED, "failed"),
    JobState.GONE: (run_pb2.JOB_OUTCOME_UNKNOWN, "gone"),
    JobState.RUNNING: (run_pb2.JOB_OUTCOME_CANCELLED, "cancelled"),  # its end is told before it is ended with its run
}
_ATTEMPTS = metrics.counter("trainer", "job_attempts_total", "Starts of training jobs that ended", ("outcome",))
for _, _label in _OUTCOMES.values():
    _ATTEMPTS.labels(_label)  # at 0, or nobody sees the first one rise


class JobFailedError(RetrogradeError):
    """A job ended badly more often than allowed; the message carries its last words."""


async def run_job(
    backend: LaunchBackend, job: Job, attempts: int, history: RunHistory, see: See = lambda _status: None
) -> None:
    """Returns when the job is done; `see` gets how it stands at each look.

    Raises InvalidInputError when it refuses its input, JobFailedError.
    """
    while True:
        start = await _begin(backend, job, history)
        status = await _follow(backend, job.handle, start, history, see)
        if status.state is JobState.SUCCEEDED:
            return
        if status.state is JobState.REFUSED:
            words = await _patiently(lambda: backend.tail(job.handle, 1))
            raise InvalidInputError(f"job {job.name} refused its input: {words}")
        _log.warning("job ended", job=job.name, reason=status.reason, attempt=start.attempt, log=status.log)
        if start.num_in_stage >= attempts:
            break
        await asyncio.sleep(_PAUSE_SECONDS * start.num_in_stage)
    words = await _patiently(lambda: backend.tail(job.handle, _LAST_LINES))
    raise JobFailedError(
        f"job {job.name} failed {start.num_in_stage} times, last by {status.reason}; {status.log} ends:\n{words}"
    )


async def settle_job(backend: LaunchBackend, job: Job, history: RunHistory, see: See = lambda _status: None) -> None:
    """Waits for what is at work of a job whose checkpoint is there, and tells what was not told of it."""
    start = latest(await history.events(), job.name)
    if not start.has_ended:
        await _follow(backend, job.handle, start, history, see)
    status = await backend.status(job.handle)
    if start.is_before(status):
        start = await _tell_start(history, start.next(status.uid), job.num_processes)
        await _follow(backend, job.handle, start, history, see)


async def end_jobs(backend: LaunchBackend, run_id: str, history: RunHistory) -> None:
    """Ends what still works for the run, and tells of every start how it ended; may be called again."""
    at_work = [handle for handle in await backend.running() if handle.run_id == run_id]
    not_told = without_end(await history.events(), run_id)
    for handle in dict.fromkeys([*at_work, *not_told]):
        await _tell_last(backend, handle, history)  # before it is gone, or nobody could tell who ended it
        if handle in at_work:
            await backend.cancel(handle)


async def _begin(backend: LaunchBackend, job: Job, history: RunHistory) -> Start:
    """The start whose end is not told yet, else a new one.

    One that ended before it was told is told now, and another made: it may be from before the store was emptied.
    """
    start = latest(await history.events(), job.name)
    if not start.has_ended:
        return start
    status = await backend.status(job.handle)
    if start.is_before(status) and status.state is not JobState.RUNNING:
        start = await _tell_start(history, start.next(status.uid), job.num_processes)
        await _tell_end(history, start, status)
    await history.check()
    return await _tell_start(history, start.next(await backend.launch(job, start.uid)), job.num_processes)


async def _follow(backend: LaunchBackend, handle: JobHandle, start: Start, history: RunHistory, see: See) -> JobStatus:
    """How the start ended, once it has and that is told."""
    while True:
        status = start.told_by(await _patiently(lambda: backend.status(handle)))
        see(status)
        if status.state is not JobState.RUNNING:
            await _tell_end(history, start, status)
            return status
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _tell_last(backend: LaunchBackend, handle: JobHandle, history: RunHistory) -> None:
    """What is not told yet of the job; what is at work is ended with its run."""
    start = latest(await history.events(), handle.name)
    status = await backend.status(handle)
    if not start.has_ended:
        await _tell_end(history, start, start.told_by(status))
    if start.is_before(status):
        start = await _tell_start(history, start.next(status.uid), 0)
        await _tell_end(history, start, status)


async def _tell_start(history: RunHistory, start: Start, num_processes: int) -> Start:
    started = run_pb2.JobStarted(job=start.job, attempt=start.attempt, num_processes=num_processes, uid=start.uid)
    await history.tell(run_pb2.RunEvent(job_started=started))
    return start


async def _tell_end(history: RunHistory, start: Start, status: JobStatus) -> None:
    outcome, label = _OUTCOMES[status.state]
    ended = run_pb2.JobEnded(
        job=start.job, attempt=start.attempt, outcome=outcome, reason=_reason(status), uid=start.uid
    )
    await history.tell(run_pb2.RunEvent(job_ended=ended))
    _ATTEMPTS.labels(label).inc()


def _reason(status: JobStatus) -> str:
    if status.state is JobState.RUNNING:
        return "its run ended"
    return f"gone: {status.reason}" if status.state is JobState.GONE else status.reason


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer about a job that was started; to give up here would be to count its starts anew."""
    while True:
        try:
            return await ask()
        except UnavailableError as error:
            _log.warning("the jobs' place does not answer", reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)
