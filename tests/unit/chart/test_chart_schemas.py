"""Everything that the chart and k8s/dev make has the shape that the supported versions of Kubernetes know."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from chart_render import ALL_ON, PROFILES, ROOT, Object, profile, rendered

from tests.servers import need
from tools.chart_tools import tool
from tools.kubernetes_schemas import VERSIONS, location

OF_OTHERS = "Certificate,PodMonitor,PrometheusRule,ScaledObject,ServiceMonitor,TriggerAuthentication"
"""Kinds that Kubernetes does not bring."""


def checked(version: str, folder: Path) -> subprocess.CompletedProcess[str]:
    need(lambda: tool("kubeconform"))
    need(lambda: Path(location(version)).parent)
    command = [str(tool("kubeconform")), "-strict", "-skip", OF_OTHERS, "-schema-location", location(version)]
    return subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False, timeout=120)


def write(file: Path, objects: list[Object]) -> None:
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), encoding="utf-8")


def job_pod(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", **profile(name).pod("job")}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_profile_fits_the_schemas(version: str, tmp_path: Path) -> None:
    """All profiles, everything on, pods of jobs and the throw-away servers: no key is unknown or of another kind."""
    charts = {name: profile(name) for name in PROFILES} | {"everything": rendered(**ALL_ON)}
    for name, chart in charts.items():
        write(tmp_path / f"{name}.json", [each for _, each in chart.objects])
    write(tmp_path / "jobs.json", [job_pod(name) for name in PROFILES])
    for file in ("kafka.yaml", "minio.yaml"):
        (tmp_path / file).write_bytes((ROOT / "k8s/dev" / file).read_bytes())
    result = checked(version, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_is_none_is_found(version: str, tmp_path: Path) -> None:
    """What values can hand on unseen, as in extraVolumes, is seen here."""
    chart = rendered(search={"extraVolumes": [{"name": "own", "emptyDri": {}}]})
    write(tmp_path / "search.json", chart.of("Deployment", "search"))
    result = checked(version, tmp_path)
    assert result.returncode == 1
    assert "'emptyDri' not allowed" in result.stdout
