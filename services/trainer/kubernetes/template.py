"""The pod template of training jobs: a PodTemplateSpec in YAML that whoever installs the platform decides on.

It says everything about the pods (image, resources, security, where they go, what is mounted) but what they run: the
container `train` gets its arguments from the trainer. Its `command`, if there is one, is the Python to start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from retrograde.runtime.errors import InvalidInputError
from services.trainer.kubernetes.names import INSTANCE

CONTAINER = "train"
CONFIG_FOLDER = "/etc/retrograde-job"
CONFIG_VOLUME = "job-config"


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A template that was checked."""

    body: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """Of its pods; the jobs get them too."""
        labels: dict[str, str] = self.body.get("metadata", {}).get("labels", {})
        return labels

    @property
    def instance(self) -> str:
        """The release it belongs to; "" if it does not say."""
        return self.labels.get(INSTANCE, "")


def read_template(path: Path, work_dir: str) -> PodTemplate:
    """The template at `path`, whose pods need `work_dir` on a volume. Raises InvalidInputError."""
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"launch.pod_template: {path}: {error}; name a YAML file that can be read") from error
    try:
        return checked_template(body, work_dir)
    except InvalidInputError as error:
        raise InvalidInputError(f"launch.pod_template: {path}: {error}") from error


def checked_template(body: object, work_dir: str) -> PodTemplate:
    """`body` as a template. Raises InvalidInputError naming the field, its value and the fix."""
    if not isinstance(body, dict) or not isinstance(body.get("spec"), dict):
        raise InvalidInputError("spec: missing; write a PodTemplateSpec: metadata and spec, without kind")
    spec = body["spec"]
    if spec.get("restartPolicy", "Never") != "Never":
        raise InvalidInputError(
            f"spec.restartPolicy: {spec['restartPolicy']!r} would start one rank without the others; write Never, "
            "the trainer starts all of them again"
        )
    for field in ("hostname", "subdomain"):
        if field in spec:
            raise InvalidInputError(f"spec.{field}: {spec[field]!r} is the trainer's to set; delete it")
    _check_container(spec, work_dir)
    return PodTemplate(body)


def _check_container(spec: dict[str, Any], work_dir: str) -> None:
    containers = spec.get("containers") or []
    train = next((each for each in containers if each.get("name") == CONTAINER), None)
    if train is None:
        names = [each.get("name") for each in containers]
        raise InvalidInputError(f"spec.containers: {names} has no {CONTAINER!r}; name the one that trains {CONTAINER}")
    if "args" in train:
        raise InvalidInputError(
            f"spec.containers[{CONTAINER}].args: {train['args']} is the trainer's to set; delete it "
            "(`command` may name the Python to start)"
        )
    if any(volume.get("name") == CONFIG_VOLUME for volume in spec.get("volumes") or []):
        raise InvalidInputError(f"spec.volumes: {CONFIG_VOLUME!r} is the trainer's own volume; rename it")
    mounts = [mount.get("mountPath", "") for mount in train.get("volumeMounts") or []]
    if not any(PurePosixPath(work_dir).is_relative_to(mount) for mount in mounts):
        raise InvalidInputError(
            f"spec.containers[{CONTAINER}].volumeMounts: {mounts} has no scratch volume for work_dir {work_dir}; "
            "mount an emptyDir there or above"
        )
