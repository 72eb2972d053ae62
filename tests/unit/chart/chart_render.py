"""What `helm template` makes of the chart under some values: each set of them is rendered once for all tests."""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.servers import need
from tools.chart_tools import tool

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts/retrograde"
SERVICES = ("inference", "verifier", "search", "rewriter", "rollouts", "trainer")
DOORS = ("inference", "rollouts", "trainer")
PODS = (*SERVICES, "job", "test")
PROFILES: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "cpu": ("values-cpu.yaml",),
    "gpu": ("values-gpu.yaml",),
    "production": ("values-production.yaml",),
    "gpu and production": ("values-gpu.yaml", "values-production.yaml"),
}
ALL_ON = {
    "tls": {"enabled": True, "certManager": {"enabled": True}},
    "tokens": {"secretName": "doors"},
    "doors": {name: {"type": "LoadBalancer", "dnsNames": [f"{name}.example.com"]} for name in DOORS},
    "tracing": {"endpoint": "http://collector:4317"},
    "kafka": {"tls": {"enabled": True, "clientCertificate": True}, "sasl": {"enabled": True}},
    "s3": {"ca": True, "prefix": "team/one"},
    "model": {"claim": "models"},
    "autoscaling": {"mode": "keda"},
    "monitoring": {"enabled": True},
    "priorityClasses": {"create": True},
    "inference": {"config": {"openai_port": 8000}},
    "job": {"protectedFrom": "drains"},
}
FEATURES_OFF = {
    "networkPolicy": {"enabled": False},
    "podDisruptionBudgets": {"enabled": False},
    "job": {"backend": "local"},
}
SERVICES_OFF = ALL_ON | {name: {"enabled": False} for name in SERVICES} | {"test": {"enabled": False}}
"""Everything on but the services."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """The objects, each with the template that made it."""

    objects: tuple[tuple[str, Object], ...]

    @property
    def templates(self) -> set[str]:
        """Those that made an object, as paths below templates/."""
        return {template for template, _ in self.objects}

    def of(self, kind: str, name: str = "") -> list[Object]:
        """All objects of the kind, or the one called r-`name`."""
        return [each for _, each in self.objects if each["kind"] == kind and name in {"", each["metadata"]["name"][2:]}]

    def one(self, kind: str, name: str) -> Object:
        """The only one."""
        (found,) = self.of(kind, name)
        return found

    def pod(self, component: str) -> Object:
        """The pod template of a component, as metadata and spec."""
        if component == "test":
            return self.one("Pod", "test")
        if component == "job":
            return read(self.one("ConfigMap", "trainer")["data"]["job-template.yaml"])
        workload = self.one("StatefulSet" if component == "inference" else "Deployment", component)
        found: Object = workload["spec"]["template"]
        return found

    def settings(self, component: str) -> Object:
        """What the component's settings file says."""
        return read(self.one("ConfigMap", component)["data"]["config.yaml"])


def profile(name: str) -> Rendered:
    """The chart under a profile."""
    return rendered(*PROFILES[name])


def rendered(*files: str, **values: Any) -> Rendered:
    """The chart under the profiles in `files`, and `values` over them. Raises CalledProcessError with helm's words."""
    return _rendered(files, json.dumps(values, sort_keys=True))


def refusal(**values: Any) -> str:
    """Helm's words about values that it must refuse."""
    result = _helm((), json.dumps(values))
    assert result.returncode != 0, f"{values} were accepted"
    return result.stderr


def read(document: str) -> Object:
    """What the YAML says; libyaml reads it, which takes a tenth of the time."""
    found: Object = yaml.load(document, Loader=yaml.CSafeLoader)
    return found


@functools.cache
def _rendered(files: tuple[str, ...], values: str) -> Rendered:
    result = _helm(files, values)
    result.check_returncode()
    objects = []
    for document in result.stdout.split("\n---\n"):
        if body := read(document):
            source = next(line for line in document.splitlines() if line.startswith("# Source: "))
            objects.append((source.partition("/templates/")[2], body))
    return Rendered(tuple(objects))


def _helm(files: tuple[str, ...], values: str) -> subprocess.CompletedProcess[str]:
    need(lambda: tool("helm"))
    chosen = [argument for file in files for argument in ("-f", str(CHART / file))]
    command = [str(tool("helm")), "template", "r", str(CHART), "--namespace", "n", *chosen, "-f", "-"]
    return subprocess.run(command, input=values, capture_output=True, text=True, check=False, timeout=120)
