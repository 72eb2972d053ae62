"""`python tools/chart_tools.py`: what the chart is checked with, once, in the user's cache folder.

helm         renders and lints it                          built by Go
kubeconform  holds what is rendered against schemas        built by Go
promtool     plays the alerts                              from Debian's package, unpacked and not installed
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from retrograde.cli.servers.obtain import cache_folder, made_at, missing_tools, run_tool
from retrograde.runtime.errors import NotFoundError

HELM_VERSION = "v3.22.0"
KUBECONFORM_VERSION = "v0.8.0"
_UTIL = "helm.sh/helm/v3/pkg/chartutil.k8sVersion"
_HELM_FLAGS = f"-s -w -X {_UTIL}Major=1 -X {_UTIL}Minor=33"  # of the cluster that `helm template` takes for granted


def tool(name: str) -> Path:
    """The program. Raises NotFoundError when it was not obtained."""
    place = _place(name)
    if not place.exists():
        raise NotFoundError(f"{name} is not in {place}: run `make tools`")
    return place


def obtain(name: str) -> Path:
    """The program, made when it is not there. Raises NotFoundError when a tool for that is missing."""
    place, (needs, make) = _place(name), _MAKERS[name]
    if not place.exists():
        if missing := missing_tools(*needs):
            raise NotFoundError(f"{name} needs {' and '.join(missing)}: install it, then `make tools`")
        print(f"setup: making {place}", flush=True)
        made_at(place, make)
    return place


def _place(name: str) -> Path:
    return cache_folder() / "bin" / _FILES[name]


def _helm(folder: Path) -> Path:
    return _go_install(folder, f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}", _HELM_FLAGS)


def _kubeconform(folder: Path) -> Path:
    return _go_install(folder, f"github.com/yannh/kubeconform/cmd/kubeconform@{KUBECONFORM_VERSION}", "-s -w")


def _go_install(folder: Path, package: str, flags: str) -> Path:
    environment = os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0"}
    run_tool(["go", "install", "-ldflags", flags, package], environment)
    return folder / package.rpartition("/")[2].partition("@")[0]


def _promtool(folder: Path) -> Path:
    """By a state of apt's that is ours: no root, no installation."""
    for part in ("state/lists/partial", "cache/archives/partial", "debs"):
        (folder / part).mkdir(parents=True)
    own = {"Dir::State": f"{folder}/state", "Dir::Cache": f"{folder}/cache"}
    own |= {"Dir::State::status": "/var/lib/dpkg/status", "APT::Sandbox::User": "root"}
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in own.items())]
    run_tool([*apt, "update"], os.environ)
    run_tool([*apt, "download", "prometheus"], os.environ, folder / "debs")
    package = next((folder / "debs").iterdir())
    run_tool(["dpkg", "-x", str(package), str(folder / "root")], os.environ)
    return folder / "root/usr/bin/promtool"


_FILES = {"helm": f"helm-{HELM_VERSION}", "kubeconform": f"kubeconform-{KUBECONFORM_VERSION}", "promtool": "promtool"}
_MAKERS: dict[str, tuple[tuple[str, ...], Callable[[Path], Path]]] = {
    "helm": (("go",), _helm),
    "kubeconform": (("go",), _kubeconform),
    "promtool": (("apt-get", "dpkg"), _promtool),
}


def main() -> None:
    """Obtains all; what cannot be had here is told in a line (with CI=true it fails)."""
    for name in _MAKERS:
        try:
            obtain(name)
        except NotFoundError as error:
            if os.environ.get("CI") == "true":
                raise SystemExit(f"error: {error}") from None
            print(f"setup: {error} (its tests are skipped)")


if __name__ == "__main__":
    main()
