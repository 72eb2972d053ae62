"""What a job is called in the cluster. Everything derives from its handle and the release, so nothing is remembered.

Names and label values have a grammar and a length; what does not fit is cut, and a hash keeps it apart. The exact names
of run and job are annotations.
"""

from __future__ import annotations

import hashlib
import re

from services.trainer.launch import JobHandle

RUN, JOB = "retrograde.dev/run", "retrograde.dev/job"
MANAGER = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
_TRAINER = "retrograde-trainer"
_NAME_LENGTH = 40  # a pod of a JobSet is called <name>-<hash>-train-0-<index>: 63 letters are a host's longest name
_LABEL_LENGTH = 63
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def object_name(handle: JobHandle, instance: str) -> str:
    """Of the job's Job, Service and ConfigMap, unique in the namespace: a DNS label that begins with a letter."""
    slug = re.sub(r"[^a-z0-9]+", "-", f"{handle.name}-{handle.run_id}".lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"job-{slug}"
    return f"{slug[:_NAME_LENGTH].rstrip('-')}-{_hash(instance, *handle)}"


def label_value(text: str) -> str:
    """`text`, or what a label can hold of it."""
    if _LABEL.fullmatch(text):
        return text
    slug = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    return f"{slug[: _LABEL_LENGTH - 9]}-{_hash(text)}".lstrip("-")


def labels_of(handle: JobHandle) -> dict[str, str]:
    """What the job's objects are found by."""
    return {MANAGER: _TRAINER, RUN: label_value(handle.run_id), JOB: label_value(handle.name)}


def annotations_of(handle: JobHandle) -> dict[str, str]:
    """The exact names."""
    return {RUN: handle.run_id, JOB: handle.name}


def selector(instance: str, handle: JobHandle | None = None) -> str:
    """Of all jobs of one release's trainer, or of what belongs to one."""
    labels = {MANAGER: _TRAINER, **(labels_of(handle) if handle else {})}
    if instance:
        labels[INSTANCE] = instance
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]
