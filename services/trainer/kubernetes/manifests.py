"""A job as objects of the cluster: pure functions of the job, the settings and the pod template.

    indexed   Job (Indexed) + headless Service      each owns a ConfigMap, which holds the job's configuration
    jobset    JobSet, which makes both itself

One pod per `processes_per_pod` ranks. They meet at the pod of index 0, whose host name the headless Service gives to
DNS before it is ready. All or nothing: the first pod that fails fails the Job, which ends the others; the trainer then
makes the Job again. A pod that leaves with status 2 has refused its input, and the Job's condition says so.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.settings import BAD_INPUT_STATUS
from services.trainer.kubernetes.names import annotations_of, labels_of, object_name
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.kubernetes.template import CONFIG_FOLDER, CONFIG_VOLUME, CONTAINER, PodTemplate
from services.trainer.launch import Job

Manifest = dict[str, Any]
_QUEUE = "kueue.x-k8s.io/queue-name"
_FILE = "job.yaml"
_REPLICATED = "train"
_INDEX = "$(JOB_COMPLETION_INDEX)"  # every container of an Indexed Job has this variable; the kubelet puts it in


@dataclass(frozen=True, slots=True)
class Shape:
    """`num_pods` pods of `num_ranks` each, the first of which is called `first_host`."""

    num_pods: int
    num_ranks: int
    first_host: str


def indexed_job(job: Job, settings: LaunchSettings, template: PodTemplate) -> Manifest:
    """An Indexed Job."""
    name = object_name(job.handle, template.instance)
    shape = _shape(job, settings, f"{name}-0.{name}")
    spec = _job_spec(job, settings, template, shape, name)
    if shape.num_pods > 1:
        spec["template"]["spec"]["subdomain"] = name
    spec["ttlSecondsAfterFinished"] = settings.ttl_seconds
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(job, template, settings.queue),
        "spec": _suspended(spec, settings),
    }


def jobset(job: Job, settings: LaunchSettings, template: PodTemplate) -> Manifest:
    """A JobSet of one Indexed Job."""
    name = object_name(job.handle, template.instance)
    shape = _shape(job, settings, f"{name}-{_REPLICATED}-0-0.{name}")
    job_spec = _job_spec(job, settings, template, shape, name)
    replicated = {
        "name": _REPLICATED,
        "replicas": 1,
        "template": {"metadata": {"labels": labels_of(job.handle)}, "spec": job_spec},
    }
    spec = {
        "failurePolicy": {"maxRestarts": 0},
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "replicatedJobs": [replicated],
        "ttlSecondsAfterFinished": settings.ttl_seconds,
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": _metadata(job, template, settings.queue),
        "spec": _suspended(spec, settings),
    }


def service(owner: Manifest, port: int) -> Manifest:
    """The headless Service that gives the pods of an Indexed Job their names."""
    name = owner["metadata"]["name"]
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"batch.kubernetes.io/job-name": name},
        "ports": [{"name": "rendezvous", "port": port}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": _owned(owner), "spec": spec}


def config_map(job: Job, owner: Manifest) -> Manifest:
    """The job's configuration. Like the trainer's own it names secrets by their files and holds none."""
    config = yaml.safe_dump(job.config.model_dump(mode="json"))
    data = {_FILE: config}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _owned(owner), "immutable": True, "data": data}


def needs_service(manifest: Manifest) -> bool:
    """Whether this Job has pods that must find each other."""
    return bool(manifest["kind"] == "Job" and manifest["spec"]["completions"] > 1)


def _shape(job: Job, settings: LaunchSettings, first_host: str) -> Shape:
    num_ranks = min(job.num_processes, settings.processes_per_pod)
    if job.num_processes % num_ranks:
        raise InvalidInputError(
            f"num_processes: the {job.num_processes} of job {job.name} do not fill pods of "
            f"launch.processes_per_pod: {settings.processes_per_pod}; choose a multiple"
        )
    return Shape(job.num_processes // num_ranks, num_ranks, first_host)


def _metadata(job: Job, template: PodTemplate, queue: str) -> Manifest:
    labels = {**template.labels, **labels_of(job.handle)}
    if queue:
        labels[_QUEUE] = queue
    name = object_name(job.handle, template.instance)
    return {"name": name, "labels": labels, "annotations": annotations_of(job.handle)}


def _suspended(spec: Manifest, settings: LaunchSettings) -> Manifest:
    """Kueue lets it go once there is room."""
    return {**spec, "suspend": True} if settings.queue else spec


def _owned(owner: Manifest) -> Manifest:
    """Metadata of what is deleted with `owner`, an object as the server made it."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    metadata = owner["metadata"]
    return {"name": metadata["name"], "labels": metadata["labels"], "ownerReferences": [reference]}


def _job_spec(job: Job, settings: LaunchSettings, template: PodTemplate, shape: Shape, name: str) -> Manifest:
    refused = {"containerName": CONTAINER, "operator": "In", "values": [BAD_INPUT_STATUS]}
    return {
        "completionMode": "Indexed",
        "completions": shape.num_pods,
        "parallelism": shape.num_pods,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": refused}]},
        "template": _pod(job, settings, template, shape, name),
    }


def _pod(job: Job, settings: LaunchSettings, template: PodTemplate, shape: Shape, name: str) -> Manifest:
    pod = copy.deepcopy(template.body)
    metadata = pod.setdefault("metadata", {})
    metadata["labels"] = {**template.labels, **labels_of(job.handle)}
    metadata["annotations"] = {**metadata.get("annotations", {}), **annotations_of(job.handle)}
    spec = pod["spec"]
    spec["restartPolicy"] = "Never"
    spec.setdefault("shareProcessNamespace", True)  # else the job is process 1, which SIGTERM does not end
    volume = {"name": CONFIG_VOLUME, "configMap": {"name": name}}
    spec["volumes"] = [*(spec.get("volumes") or []), volume]
    train = next(each for each in spec["containers"] if each["name"] == CONTAINER)
    train.setdefault("command", ["python"])
    train["args"] = _arguments(job, settings, shape)
    mount = {"name": CONFIG_VOLUME, "mountPath": CONFIG_FOLDER, "readOnly": True}
    train["volumeMounts"] = [*train["volumeMounts"], mount]
    return pod


def _arguments(job: Job, settings: LaunchSettings, shape: Shape) -> list[str]:
    """Of Python: the module, by itself or on every rank."""
    work = ["-m", job.module, "--config", f"{CONFIG_FOLDER}/{_FILE}"]
    if job.num_processes == 1:
        return work
    launcher = ["-m", "services.trainer.job.launcher", "--nproc-per-node", str(shape.num_ranks)]
    if shape.num_pods == 1:
        return [*launcher, "--standalone", *work]
    meeting = ["--nnodes", str(shape.num_pods), "--node-rank", _INDEX, "--master-addr", shape.first_host]
    return [*launcher, *meeting, "--master-port", str(settings.rendezvous_port), *work]
