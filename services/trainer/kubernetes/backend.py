"""LaunchBackend in a cluster: a Job or JobSet for each job, found again by its labels.

launch   the Job, unless there is one; then its ConfigMap and Service, whichever is missing. The start that it comes
         after is deleted first, and pods are waited for, whoever deleted their Job: two of a job never run.
cancel   deletes the Job, and returns once its pods are gone: the kubelet ends them, by force after the grace that
         the template gives them

New jobs are of one kind, Jobs or JobSets. One of the other, from before the kind was changed, is made whole, followed
and ended; where the server does not know that kind, or the trainer has no right to it, there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import ConflictError, NotFoundError, RetrogradeError, UnavailableError
from retrograde.runtime.logs import get_logger
from services.trainer.kubernetes.api import ForbiddenError, KubernetesApi, Object
from services.trainer.kubernetes.manifests import (
    Manifest,
    config_map,
    indexed_job,
    jobset,
    needs_service,
    service,
)
from services.trainer.kubernetes.names import JOB, RUN, object_name, selector
from services.trainer.kubernetes.outcome import failed_first, first_rank, has_ended, standing
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import CONTAINER, PodTemplate
from services.trainer.launch import Job, JobHandle, JobState, JobStatus
from services.trainer.waiting import carried_through

_LOOK_EVERY_SECONDS = 0.5
_ENDED = ("Succeeded", "Failed")
JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2"
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kind:
    """Jobs or JobSets: where they are, how they are made, and the labels of their pods: its name, and perhaps its uid.

    Pods that outlived an earlier Job have the same name, and would speak for it.
    """

    group: str
    plural: str
    make: Callable[[Job, LaunchSettings, PodTemplate], Manifest]
    name_label: str
    uid_label: str = ""


INDEXED = Kind(
    "/apis/batch/v1", "jobs", indexed_job, "batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid"
)
JOBSET = Kind(JOBSETS, "jobsets", jobset, "jobset.sigs.k8s.io/jobset-name")
KINDS = (INDEXED, JOBSET)


def chosen_kind(settings: LaunchSettings, api: KubernetesApi) -> Kind:
    """What the settings say, or for `auto` what the API server offers. Raises UnavailableError."""
    if settings.backend == "auto":
        return JOBSET if api.offers(JOBSETS) else INDEXED
    return JOBSET if settings.backend == "jobset" else INDEXED


@dataclass(frozen=True, slots=True)
class KubernetesBackend:
    """Jobs of one namespace and one release; new ones are of `kind`."""

    api: KubernetesApi
    kind: Kind
    settings: LaunchSettings
    template: PodTemplate
    _told: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def namespace(self) -> str:
        """Of the jobs."""
        return self.settings.namespace or self.api.access.namespace

    async def launch(self, job: Job, after: str = "") -> str:
        """See LaunchBackend."""
        manifest = self.kind.make(job, self.settings, self.template)
        left = await self._pods_left(job.handle)  # asked for first: a Job that is made meanwhile has none
        kind, found = await self._find(job.handle)
        if found and found["metadata"]["uid"] == after:
            await self._delete(kind, job.handle, found)
            return await self.launch(job, after)
        if found is None:
            if left:  # somebody deleted their Job
                words = f"pods of an earlier job {job.name} do not end; they and their nodes: {_nodes(left)}"
                raise UnavailableError(words)
            found = await carried_through(in_thread(self._create, self._jobs(self.kind), manifest))
        if not has_ended(found):
            await in_thread(self._create, self._core("configmaps"), config_map(job, found))
            if needs_service(found):
                await in_thread(self._create, self._core("services"), service(found, self.settings.rendezvous_port))
        return str(found["metadata"]["uid"])

    async def status(self, handle: JobHandle) -> JobStatus:
        """See LaunchBackend; of a job at work `reason` says what it waits for."""
        kind, found = await self._find(handle)
        name = f"{kind.name_label}={object_name(handle, self.template.instance)}"
        log = f"kubectl logs --namespace {self.namespace} --selector {name} --prefix"
        if found is None:
            return JobStatus(JobState.GONE, "somebody deleted it, or it was kept no longer", log)
        state, reason = standing(found, await self._pods(kind, found))
        return JobStatus(state, reason, log, found["metadata"]["uid"])

    async def tail(self, handle: JobHandle, num_lines: int) -> str:
        """See LaunchBackend: of the pod that failed first, else of rank 0."""
        kind, found = await self._find(handle)
        pods = await self._pods(kind, found) if found else []
        pod = failed_first(pods) or first_rank(pods)
        if pod is None:
            return ""
        path = self._core(f"pods/{pod['metadata']['name']}/log")
        try:
            text = await in_thread(self.api.text, path, container=CONTAINER, tailLines=str(num_lines))
        except RetrogradeError as error:  # it has not begun, or its node is gone and the log with it
            return f"(no log: {error})"
        return text.rstrip("\n")

    async def cancel(self, handle: JobHandle) -> None:
        """See LaunchBackend."""
        for kind in KINDS:
            found = await self._get(kind, handle)
            if found is not None:
                await self._delete(kind, handle, found)
        left = await self._pods_left(handle)
        if left:  # of a Job that was gone before
            raise _stuck(handle, left)

    async def running(self) -> list[JobHandle]:
        """See LaunchBackend; also those that somebody deleted and left their pods."""
        jobs = [job for kind in KINDS for job in await self._all(kind) if not has_ended(job)]
        pods = _at_work(await self._listed(selector(self.template.instance)))
        names = [each["metadata"].get("annotations", {}) for each in (*jobs, *pods)]
        handles = [JobHandle(each[RUN], each[JOB]) for each in names if RUN in each]  # a JobSet's own Jobs have none
        return list(dict.fromkeys(handles))

    async def _all(self, kind: Kind) -> list[Object]:
        jobs = await self._read(kind, self._jobs(kind), labelSelector=selector(self.template.instance))
        items: list[Object] = jobs["items"] if jobs else []
        return items

    def _create(self, path: str, manifest: Manifest) -> Object:
        """The object, made or found; one that belongs to an earlier Job is on its way out, and waited for."""
        name = manifest["metadata"]["name"]
        try:
            return self.api.create(path, manifest)
        except ConflictError:
            found = self._met(f"{path}/{name}")
        if _owners(found) != _owners(manifest):
            raise UnavailableError(f"{path}: {name} still belongs to an earlier Job")
        return found

    def _met(self, path: str) -> Object:
        """What was there a moment ago."""
        try:
            return self.api.get(path)
        except NotFoundError as error:
            raise UnavailableError(f"{path}: is taken and yet not there; it is made again") from error

    async def _delete(self, kind: Kind, handle: JobHandle, job: Object) -> None:
        """Returns when the job's pods have ended. Raises UnavailableError naming one that does not."""
        uid = job["metadata"]["uid"]
        try:
            await in_thread(self.api.delete, self._path(kind, handle), uid)
        except (NotFoundError, ConflictError):
            return  # it is gone, or another was made meanwhile
        try:
            await asyncio.wait_for(self._gone(kind, handle, uid), self.settings.end_seconds)
        except TimeoutError as error:
            raise _stuck(handle, await self._pods_of(handle)) from error

    async def _gone(self, kind: Kind, handle: JobHandle, uid: str) -> None:
        while True:
            found = await self._get(kind, handle)
            if found is None and not await self._pods_left(handle):
                return
            if found is not None and found["metadata"]["uid"] != uid:
                return  # another was made meanwhile, and the pods are its own
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _find(self, handle: JobHandle) -> tuple[Kind, Object | None]:
        """The job and its kind; one at work before one that has ended."""
        found = await self._get(self.kind, handle)
        if found is None or has_ended(found):
            (other,) = (kind for kind in KINDS if kind is not self.kind)
            earlier = await self._get(other, handle)
            if earlier is not None and (found is None or not has_ended(earlier)):
                return other, earlier
        return self.kind, found

    async def _get(self, kind: Kind, handle: JobHandle) -> Object | None:
        return await self._read(kind, self._path(kind, handle))

    async def _read(self, kind: Kind, path: str, **query: str) -> Object | None:
        """None where there is none. A right to the other kind may be missing; one to our own is waited for."""
        try:
            return await in_thread(self.api.get, path, **query)
        except NotFoundError:
            return None
        except ForbiddenError as error:
            if kind is self.kind:
                raise
            if kind.plural not in self._told:
                self._told.add(kind.plural)
                _log.warning("no right to jobs of the other kind; none is seen", kind=kind.plural, reason=str(error))
            return None

    async def _pods(self, kind: Kind, job: Object) -> list[Object]:
        names = job["metadata"]
        return await self._listed(
            f"{kind.uid_label}={names['uid']}" if kind.uid_label else f"{kind.name_label}={names['name']}"
        )

    async def _pods_left(self, handle: JobHandle) -> list[Object]:
        """Those that have not ended, of whatever kind of job: the kind may have changed since they began."""
        return _at_work(await self._pods_of(handle))

    async def _pods_of(self, handle: JobHandle) -> list[Object]:
        return await self._listed(selector(self.template.instance, handle))

    async def _listed(self, labels: str) -> list[Object]:
        pods = await in_thread(self.api.get, self._core("pods"), labelSelector=labels)
        items: list[Object] = pods["items"]
        return items

    def _jobs(self, kind: Kind) -> str:
        return f"{kind.group}/namespaces/{self.namespace}/{kind.plural}"

    def _path(self, kind: Kind, handle: JobHandle) -> str:
        return f"{self._jobs(kind)}/{object_name(handle, self.template.instance)}"

    def _core(self, rest: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{rest}"


def _at_work(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if pod["status"].get("phase") not in _ENDED]


def _stuck(handle: JobHandle, pods: list[Object]) -> UnavailableError:
    return UnavailableError(f"job {handle.name} does not end; pods and their nodes: {_nodes(pods)}")


def _nodes(pods: list[Object]) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in pods}


def _owners(thing: Object) -> list[str]:
    return [owner["uid"] for owner in thing["metadata"].get("ownerReferences", ())]
