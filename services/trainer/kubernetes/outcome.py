"""How a job stands, read from its conditions and its pods: pure functions of what the API server says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retrograde.runtime.settings import BAD_INPUT_STATUS
from services.trainer.kubernetes.template import CONTAINER
from services.trainer.launch import JobState

Object = Mapping[str, Any]
_SUCCEEDED = ("Complete", "Completed")  # of a Job, of a JobSet
_REFUSED = "PodFailurePolicy"
_LATE = "9999"
_INDEX = "batch.kubernetes.io/job-completion-index"


def has_ended(job: Object) -> bool:
    """Whether a Job or JobSet is done, one way or the other."""
    return any(_is_true(job, condition) for condition in (*_SUCCEEDED, "Failed"))


def standing(job: Object, pods: Sequence[Object]) -> tuple[JobState, str]:
    """(state, why: how it ended, or what it waits for)."""
    if any(_is_true(job, condition) for condition in _SUCCEEDED):
        return JobState.SUCCEEDED, "status 0"
    if not _is_true(job, "Failed"):
        return JobState.RUNNING, waits_for(job, pods)
    culprit = failed_first(pods)
    reason = failure(culprit) if culprit else _condition(job, "Failed").get("message", "failed")
    is_refused = _exit_status(culprit) == BAD_INPUT_STATUS if culprit else False
    if is_refused or _condition(job, "Failed").get("reason") == _REFUSED:
        return JobState.REFUSED, reason
    return JobState.FAILED, reason


def failed_first(pods: Iterable[Object]) -> Object | None:
    """Of the pods that failed the one whose end made the others end."""
    failed = [pod for pod in pods if pod["status"].get("phase") == "Failed"]
    return min(failed, key=_ended_at, default=None)


def first_rank(pods: Iterable[Object]) -> Object | None:
    """The pod of rank 0."""
    return next((pod for pod in pods if pod["metadata"].get("annotations", {}).get(_INDEX) == "0"), None)


def failure(pod: Object) -> str:
    """Why a pod failed: out of memory, evicted, preempted, or the status it left with."""
    words = f"pod {pod['metadata']['name']}"
    status = pod["status"]
    disruption = _condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        return f"{words}: {disruption.get('reason')}: {disruption.get('message', '')}".rstrip(": ")
    if status.get("reason"):  # the kubelet's, such as Evicted
        return f"{words}: {status['reason']}: {status.get('message', '')}".rstrip(": ")
    ended = _terminated(pod)
    if ended.get("reason") in {None, "Error"}:
        return f"{words}: status {ended.get('exitCode', 'unknown')}"
    return f"{words}: {ended['reason']}, status {ended.get('exitCode')}"


def waits_for(job: Object, pods: Iterable[Object]) -> str:
    """Why a job at work is not, yet; "" where all its pods run or are about to."""
    if "deletionTimestamp" in job["metadata"]:
        return "somebody deletes it; waits for its pods to end"
    if job["spec"].get("suspend"):
        return "waits to be admitted"
    for pod in pods:
        reason = _pod_waits_for(pod)
        if reason:
            return f"pod {pod['metadata']['name']}: {reason}"
    return str(_condition(job, "FailureTarget").get("message", ""))


def _pod_waits_for(pod: Object) -> str:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason')}: {scheduled.get('message', '')}".rstrip(": ")
    for container in pod["status"].get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def _terminated(pod: Object) -> Object:
    for container in pod["status"].get("containerStatuses", ()):
        if container["name"] == CONTAINER:
            ended: Object = container.get("state", {}).get("terminated", {})
            return ended
    return {}


def _exit_status(pod: Object) -> int | None:
    return _terminated(pod).get("exitCode")


def _ended_at(pod: Object) -> tuple[str, str]:
    """RFC 3339, of one clock each: it sorts as text. Out of memory goes before others of that second."""
    ended = _terminated(pod)
    return ended.get("finishedAt", _LATE), "" if ended.get("reason") == "OOMKilled" else "later"


def _is_true(thing: Object, kind: str) -> bool:
    return _condition(thing, kind).get("status") == "True"


def _condition(thing: Object, kind: str) -> Object:
    conditions: list[Object] = thing.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})
