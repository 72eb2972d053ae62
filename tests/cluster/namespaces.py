"""A namespace of one test on a real API server, with the chart at hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.control_plane import Cluster
from tools.cluster.obtain import KUBERNETES_VERSION

ROOT = Path(__file__).resolve().parents[2]
CHART = str(ROOT / "charts" / "retrograde")


@dataclass(frozen=True)
class Namespace:
    """A namespace of one test and what is in it; a release of the chart has the same name."""

    cluster: Cluster
    name: str
    helm_binary: str

    def kubectl(self, *arguments: str, given: str = "") -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, given=given)

    def objects(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        return self.cluster.objects(kind, "--namespace", self.name, *arguments)

    def helm(self, *arguments: str) -> str:
        return self.cluster.run(self.helm_binary, "--namespace", self.name, *arguments)

    def template(self, *arguments: str) -> str:
        """The chart's objects, for the version of this API server."""
        return self.helm("template", self.name, CHART, "--kube-version", KUBERNETES_VERSION, *arguments)

    def install(self, name: str, *arguments: str) -> None:
        """Installs the chart with a profile."""
        self.helm("install", self.name, CHART, *profile(name), *arguments)

    def create(self, obj: dict[str, Any], *arguments: str) -> None:
        """Makes an object; a field the API server does not know is an error."""
        self.kubectl("create", "--validate=strict", "-f-", *arguments, given=json.dumps(obj))

    def job_template(self) -> dict[str, Any]:
        """The template of training jobs' pods, as the installed trainer reads it."""
        config = json.loads(self.kubectl("get", "configmap", f"{self.name}-trainer", "-ojson"))
        found: dict[str, Any] = yaml.safe_load(config["data"]["job-template.yaml"])
        return found

    def everything(self) -> set[str]:
        """`type/name` of all that is in it, of every type the API server knows, but events."""
        kinds = self.kubectl("api-resources", "--verbs=list", "--namespaced", "-oname").split()
        wanted = ",".join(sorted(kind for kind in kinds if not kind.startswith("events")))
        return set(self.kubectl("get", wanted, "-oname").split())


def profile(name: str) -> list[str]:
    """What lays a profile over the chart's values."""
    return ["-f", f"{CHART}/values-{name}.yaml"]
