"""`python -m tools.kubernetes_schemas`: JSON schemas of the built-in objects of Kubernetes, for kubeconform -strict.

They are made of the OpenAPI document that a release of Kubernetes carries in its Go module: one file for all
definitions, and one for each kind that refers to it. Strict: a definition that knows its keys allows no others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from retrograde.cli.servers.obtain import cache_folder, made_at, missing_tools
from retrograde.runtime.errors import NotFoundError, UnavailableError

VERSIONS = ("1.29.15", "1.33.5", "1.36.3")
"""The oldest that the chart is for, one between, and the newest."""
_DEFINITIONS = "definitions.json"
_EITHER = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["integer", "string"]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["number", "string"]},
}


def schemas(version: str) -> Path:
    """The folder of a version's schemas. Raises NotFoundError when they were not made."""
    place = _place(version)
    if not place.exists():
        raise NotFoundError(f"schemas of Kubernetes {version} are not in {place}: run `make tools`")
    return place


def location(version: str) -> str:
    """Where kubeconform looks for them."""
    return f"{schemas(version)}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"


def obtain(version: str) -> Path:
    """The folder, made when it is not there. Raises NotFoundError without Go."""
    place = _place(version)
    if not place.exists():
        if missing_tools("go"):
            raise NotFoundError("schemas of Kubernetes need go: install it, then `make tools`")
        print(f"setup: making {place}", flush=True)
        made_at(place, lambda folder: _make(folder, version))
    return place


def strict(definitions: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI definitions as definitions of JSON schema that allow no unknown key."""
    return {name: _EITHER.get(name) or _closed(part) for name, part in definitions.items()}


def kinds(definitions: dict[str, Any]) -> dict[str, str]:
    """Definitions by the file that kubeconform asks for: deployment-apps-v1."""
    found = {}
    for name, part in definitions.items():
        for each in part.get("x-kubernetes-group-version-kind", ()):
            group = [each["group"].partition(".")[0]] if each["group"] else []
            found["-".join([each["kind"].lower(), *group, each["version"]])] = name
    return found


def _closed(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "additionalProperties": False} if "properties" in part else part


def _place(version: str) -> Path:
    return cache_folder() / f"kubernetes-schemas-{version}"


def _make(folder: Path, version: str) -> Path:
    document = json.loads((_module(folder, version) / "api/openapi-spec/swagger.json").read_bytes())
    made = folder / "schemas"
    made.mkdir()
    (made / _DEFINITIONS).write_text(json.dumps({"definitions": strict(document["definitions"])}), encoding="utf-8")
    for file, name in kinds(document["definitions"]).items():
        reference = {"$ref": f"{_DEFINITIONS}#/definitions/{name}"}
        (made / f"{file}.json").write_text(json.dumps(reference), encoding="utf-8")
    return made


def _module(folder: Path, version: str) -> Path:
    """Kubernetes' sources, in a module cache of our own that goes with `folder`."""
    environment = os.environ | {"GOMODCACHE": str(folder / "modules"), "GOFLAGS": "-modcacherw", "GO111MODULE": "on"}
    command = ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if result.returncode:
        raise UnavailableError(f"{' '.join(command)} ended with status {result.returncode}: {result.stdout}")
    return Path(json.loads(result.stdout)["Dir"])


def main() -> None:
    """Makes all; without Go it says so in a line (with CI=true it fails)."""
    try:
        for version in VERSIONS:
            obtain(version)
    except NotFoundError as error:
        if os.environ.get("CI") == "true":
            sys.exit(f"error: {error}")
        print(f"setup: {error} (their tests are skipped)")


if __name__ == "__main__":
    main()
