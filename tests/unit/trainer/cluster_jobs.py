"""Jobs of a backend on an API server in memory, and what their controller and pods say of them."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel

from retrograde.runtime.errors import UnavailableError
from services.trainer.kubernetes.api import KubernetesApi
from services.trainer.kubernetes.backend import INDEXED, Kind, KubernetesBackend
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import PodTemplate
from services.trainer.launch import Job, JobHandle
from tests.unit.trainer.fake_api import FakeApi

JOBS, PODS = "/apis/batch/v1/namespaces/lab/jobs", "/api/v1/namespaces/lab/pods"
HANDLE = JobHandle("run-1", "astro_rl")
TRAIN = {"name": "train", "volumeMounts": []}
TEMPLATE = PodTemplate(
    {"metadata": {"labels": {"app.kubernetes.io/instance": "demo"}}, "spec": {"containers": [TRAIN]}}
)


class Config(BaseModel):
    step: int = 1


def job(num_processes: int = 2) -> Job:
    return Job(*HANDLE, "some.module", Config(), num_processes)


def backend(api: FakeApi, kind: Kind = INDEXED, **changes: Any) -> KubernetesBackend:
    settings = LaunchSettings(backend="indexed", pod_template="t.yaml", **changes)
    return KubernetesBackend(cast("KubernetesApi", api), kind, settings, TEMPLATE)


def condition(kind: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def ends(api: FakeApi, kind: str, reason: str = "") -> None:
    """The Job controller's word on the job."""
    path = next(path for path in api.objects if path.startswith(JOBS))
    api.patch(path, {"status": {"conditions": [condition(kind, reason, "a pod has failed")]}})


def pod(api: FakeApi, index: int, **status: Any) -> None:
    """A pod of the job."""
    name = api.names("jobs")[0]
    owner = api.objects[f"{JOBS}/{name}"]
    template = owner["spec"]["template"]["metadata"]
    theirs = {"batch.kubernetes.io/job-name": name, "batch.kubernetes.io/controller-uid": owner["metadata"]["uid"]}
    metadata = {
        "name": f"{name}-{index}",
        "labels": {**template["labels"], **theirs},
        "annotations": {**template["annotations"], "batch.kubernetes.io/job-completion-index": str(index)},
    }
    api.add(PODS, {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": status})


def terminated(code: int, at: str, reason: str = "Error") -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": f"2026-11-21T10:00:{at}Z"}}
    return {"phase": "Failed", "containerStatuses": [{"name": "train", "state": state}]}


def counts(api: FakeApi) -> tuple[int, ...]:
    return tuple(len(api.names(plural)) for plural in ("jobs", "configmaps", "services"))


class Interrupted(FakeApi):
    """It leaves once, after the Job was made."""

    is_away = True

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.is_away and path.endswith("configmaps"):
            self.is_away = False
            raise UnavailableError("the API server left")
        return super().create(path, body)
