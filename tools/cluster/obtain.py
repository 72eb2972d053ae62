"""What a cluster runs from, once, in the user's cache folder; nothing of it is installed into the system.

debian   etcd, containerd, runc, the CNI plugins, nft   packages, unpacked
control  API server, controllers, scheduler, kubectl    built by Go from kubernetes/
kwok     KWOK, which simulates nodes                    built by Go from kwok/
node     kubelet, kube-proxy, CoreDNS, pause            built by Go from kubernetes/, coredns/ and pause/
kinds    cert-manager's, KEDA's and the Prometheus operator's definitions   out of the modules of kinds/

Each lies in a folder named by what it is made from: other modules, versions or packages have another one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrograde.cli.servers.obtain import cache_folder, made_at, missing_tools, run_tool
from retrograde.runtime.errors import NotFoundError

KUBERNETES_VERSION = "1.36.3"
_HERE = Path(__file__).resolve().parent
_STAMP = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"
_CONTROL = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_NODE = ("kubelet", "kube-proxy")
_GO_FILES = (".mod", ".sum", ".go")
_RUNTIME = ("etcd-server", "containerd", "runc", "libseccomp2", "containernetworking-plugins", "nftables")
_LIBRARIES = ("libnftables1", "libnftnl11", "libmnl0", "libjansson4", "libxtables12", "libedit2", "libbsd0", "libmd0")
_PACKAGES = _RUNTIME + _LIBRARIES
_KINDS = (
    "github.com/cert-manager/cert-manager@*/deploy/crds/cert-manager.io_certificates.yaml",
    "github.com/kedacore/keda/v2@*/config/crd/bases/keda.sh_scaledobjects.yaml",
    "github.com/kedacore/keda/v2@*/config/crd/bases/keda.sh_triggerauthentications.yaml",
    "github.com/prometheus-operator/prometheus-operator@*/example/prometheus-operator-crd/*_podmonitors.yaml",
    "github.com/prometheus-operator/prometheus-operator@*/example/prometheus-operator-crd/*_prometheusrules.yaml",
    "github.com/prometheus-operator/prometheus-operator@*/example/prometheus-operator-crd/*_servicemonitors.yaml",
)
_MODULES = ("kubernetes", "coredns", "pause", "kwok", "kinds")
_KUBERNETES, _COREDNS, _PAUSE, _KWOK, _OTHERS = (_HERE / name for name in _MODULES)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of programs: what it is called, what it costs to make, how, and from what."""

    name: str
    cost: str
    tools: tuple[str, ...]
    make: Callable[[Path, Say], Path]
    contents: tuple[str, ...]
    modules: tuple[Path, ...] = ()

    @property
    def place(self) -> Path:
        """Where its programs are, or would be."""
        digest = hashlib.sha256(repr(self.contents).encode())
        for module in self.modules:
            for file in sorted(path for path in module.iterdir() if path.suffix in _GO_FILES):
                digest.update(file.read_bytes())
        return cache_folder() / f"kubernetes-{KUBERNETES_VERSION}" / f"{self.name}-{digest.hexdigest()[:12]}"

    def folder(self) -> Path:
        """Where its programs are. Raises NotFoundError when it was not obtained."""
        if not self.place.exists():
            target = "cluster-tools" if self.name == "node" else "control-plane"
            raise NotFoundError(f"the cluster's part {self.name} is not in {self.place}: run `make {target}`")
        return self.place

    def obtain(self, say: Say) -> Path:
        """Makes it when it is not there. Raises NotFoundError when a tool for that is missing."""
        if self.place.exists():
            return self.place
        if missing := missing_tools(*self.tools):
            raise NotFoundError(f"the cluster's part {self.name} needs {' and '.join(missing)}: install it, try again")
        say(f"setup: making {self.place} ({self.cost})")
        started = time.monotonic()
        made_at(self.place, lambda folder: self.make(folder, say))
        say(f"setup: {self.name} took {time.monotonic() - started:.0f} s")
        return self.place


def _unpack_debian(folder: Path, _: Say) -> Path:
    """The newest packages the system's own sources have, by a state of apt's that is ours: no root, no installation."""
    for part in ("state/lists/partial", "cache/archives/partial", "debs", "root"):
        (folder / part).mkdir(parents=True)
    own = {"Dir::State": f"{folder}/state", "Dir::Cache": f"{folder}/cache"}
    own |= {"Dir::State::status": "/var/lib/dpkg/status", "APT::Sandbox::User": "root"}
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in own.items())]
    run_tool([*apt, "update"], os.environ)
    run_tool([*apt, "download", *_PACKAGES], os.environ, folder / "debs")
    for package in sorted((folder / "debs").iterdir()):
        run_tool(["dpkg", "-x", str(package), str(folder / "root")], os.environ)
    return folder / "root"


def _build_control(folder: Path, say: Say) -> Path:
    return _build_kubernetes(folder, _CONTROL, say)


def _build_kwok(folder: Path, _: Say) -> Path:
    _go_build(folder, _KWOK, "sigs.k8s.io/kwok/cmd/kwok", "-s -w")
    return folder / "bin"


def _copy_kinds(folder: Path, _: Say) -> Path:
    """Go checks the modules by kinds/go.sum; their sources go with `folder`."""
    modules, made = folder / "modules", folder / "kinds"
    environment = os.environ | {"GOMODCACHE": str(modules), "GOFLAGS": "-modcacherw"}
    run_tool(["go", "mod", "download", *(pattern.partition("@")[0] for pattern in _KINDS)], environment, _OTHERS)
    made.mkdir()
    for pattern in _KINDS:
        (file,) = modules.glob(pattern)
        shutil.copy(file, made)
    return made


def _build_node(folder: Path, say: Say) -> Path:
    for own in (_COREDNS, _PAUSE):
        _go_build(folder, own, ".", "-s -w")
    return _build_kubernetes(folder, _NODE, say)


def _build_kubernetes(folder: Path, programs: tuple[str, ...], say: Say) -> Path:
    for i, program in enumerate(programs, 1):
        say(f"setup: building {program} ({i} of {len(programs)})")
        _go_build(folder, _KUBERNETES, f"k8s.io/kubernetes/cmd/{program}", _STAMP)
    return folder / "bin"


def _go_build(folder: Path, module: Path, package: str, flags: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    command = ["nice", "go", "build", "-p", "2", "-buildvcs=false", "-o", f"{folder}/bin/", "-ldflags", flags, package]
    run_tool(command, os.environ | {"CGO_ENABLED": "0"}, module)


_GO = ("go", "nice")
DEBIAN = Part("debian", "etcd, containerd and others, 60 MB", ("apt-get", "dpkg"), _unpack_debian, _PACKAGES)
CONTROL = Part(
    "control", "Kubernetes' control plane, 5 to 10 minutes of building", _GO, _build_control, _CONTROL, (_KUBERNETES,)
)
KWOK = Part("kwok", "KWOK, half a minute of building after the control plane", _GO, _build_kwok, ("kwok",), (_KWOK,))
NODE = Part(
    "node",
    "kubelet, kube-proxy, CoreDNS and pause, 3 to 5 minutes of building",
    _GO,
    _build_node,
    _NODE,
    (_KUBERNETES, _COREDNS, _PAUSE),
)
KINDS = Part("kinds", "other projects' kinds, 15 MB", ("go",), _copy_kinds, _KINDS, (_OTHERS,))
PARTS = {part.name: part for part in (DEBIAN, CONTROL, KWOK, KINDS, NODE)}
