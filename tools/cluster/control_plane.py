"""A real control plane on loopback: etcd <- API server <- controllers, scheduler. No root, no node, a few seconds.

Each is a process of its own with its log beside its data. They end with the thread that started them.
"""

from __future__ import annotations

import os
import signal
import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from retrograde.cli.servers.local_server import HOST, LocalServer
from tools.cluster.identities import Identities
from tools.cluster.obtain import CONTROL, DEBIAN

SERVICES = "10.252.0.0/16"
PODS = "10.251.0.0/16"
USUAL_PORT = 6443
_ISSUER = "https://kubernetes.default.svc.cluster.local"
_ANSWER_SECONDS = 10.0


class Etcd(LocalServer):
    """The cluster's memory; it does not wait for the disk, for a cluster that is thrown away does not need it."""

    name = "etcd"
    num_ports = 2

    @property
    def url(self) -> str:
        """Where the API server finds it."""
        return f"http://{HOST}:{self.ports[0]}"

    def command(self) -> Sequence[str]:
        """One member, which is its own cluster."""
        peer = f"http://{HOST}:{self.ports[1]}"
        members = ("--initial-advertise-peer-urls", peer, "--initial-cluster", f"local={peer}")
        clients = ("--listen-client-urls", self.url, "--advertise-client-urls", self.url, "--listen-peer-urls", peer)
        data = ("--name", "local", "--data-dir", str(self.folder / "data"), "--unsafe-no-fsync")
        return [str(DEBIAN.folder() / "usr/bin/etcd"), *data, *clients, *members, "--log-level", "warn"]

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it has a leader."""
        return says_ok(f"{self.url}/health")


class ApiServer(LocalServer):
    """The API server; it listens on every address, so that a node of another network namespace would find it too."""

    name = "kube-apiserver"
    end_with_parent = signal.SIGKILL  # told to leave when etcd is gone, it would stay for minutes

    def __init__(self, folder: Path, etcd: Etcd, identities: Identities, address: str) -> None:
        super().__init__(folder)
        self.etcd, self.identities, self.address = etcd, identities, address
        if address != HOST:
            self.ports = [USUAL_PORT]  # free in a network of its own, and what charts allow

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"https://{self.address}:{self.ports[0]}"

    def command(self) -> Sequence[str]:
        """With RBAC, the node authoriser and the default admission plugins, PodSecurity among them."""
        return [str(CONTROL.folder() / "kube-apiserver"), *(f"--{k}={v}" for k, v in self._flags().items())]

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it says that it is ready."""
        return says_ok(f"https://{HOST}:{self.ports[0]}/readyz", self.identities.authority)

    def _flags(self) -> dict[str, object]:
        names = f"IP:{HOST},IP:{self.address},IP:10.252.0.1,DNS:kubernetes.default.svc"
        certificate, key = self.identities.certificate("apiserver", subject="/CN=kube-apiserver", names=names)
        folder = self.identities.folder
        return {
            "etcd-servers": self.etcd.url,
            "bind-address": HOST if self.address == HOST else "0.0.0.0",  # noqa: S104 - in a namespace of its own
            "advertise-address": self.address,
            "endpoint-reconciler-type": "none" if self.address == HOST else "lease",
            "secure-port": self.ports[0],
            "service-cluster-ip-range": SERVICES,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "feature-gates": "WatchList=false",  # Debian's etcd cannot do it: KWOK's watches would end at once
            "client-ca-file": self.identities.authority,
            "tls-cert-file": certificate,
            "tls-private-key-file": key,
            "service-account-issuer": _ISSUER,
            "service-account-key-file": folder / "accounts.pub",
            "service-account-signing-key-file": folder / "accounts.key",
            **self._kubelet_flags(),
        }

    def _kubelet_flags(self) -> dict[str, object]:
        subject = "/O=system:masters/CN=kube-apiserver-kubelet-client"
        certificate, key = self.identities.certificate("apiserver-to-kubelet", subject=subject, names="DNS:client")
        return {
            "kubelet-client-certificate": certificate,
            "kubelet-client-key": key,
            "kubelet-certificate-authority": self.identities.authority,
            "kubelet-preferred-address-types": "InternalIP",
        }


class _Client(LocalServer):
    """A program of the control plane that works for the API server, with a kubeconfig of its own."""

    def __init__(self, folder: Path, identities: Identities, server: str) -> None:
        super().__init__(folder)
        self.identities = identities
        self.kubeconfig = identities.kubeconfig(self.name, subject=f"/CN=system:{self.name}", server=server)

    def command(self) -> Sequence[str]:
        """Alone, so that it need not be elected."""
        certificate, key = self.identities.certificate(self.name, subject=f"/CN={self.name}", names=f"IP:{HOST}")
        flags = {
            "kubeconfig": self.kubeconfig,
            "authentication-kubeconfig": self.kubeconfig,
            "authorization-kubeconfig": self.kubeconfig,
            "tls-cert-file": certificate,
            "tls-private-key-file": key,
            "bind-address": HOST,
            "secure-port": self.ports[0],
            "leader-elect": "false",
        }
        return [str(CONTROL.folder() / self.name), *(f"--{k}={v}" for k, v in (flags | self.flags()).items())]

    def flags(self) -> dict[str, object]:
        """Those only this program has."""
        return {}

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it says that it is healthy."""
        return says_ok(f"https://{HOST}:{self.ports[0]}/healthz", self.identities.authority)


class ControllerManager(_Client):
    """The controllers: Deployments, Jobs, garbage, ServiceAccounts and the rest."""

    name = "kube-controller-manager"

    def flags(self) -> dict[str, object]:
        """Tokens for ServiceAccounts, addresses for pods; a simulated node is not missed for its silence."""
        return {
            "use-service-account-credentials": "true",
            "service-account-private-key-file": self.identities.folder / "accounts.key",
            "root-ca-file": self.identities.authority,
            "allocate-node-cidrs": "true",
            "cluster-cidr": PODS,
            "node-cidr-mask-size": 24,
            "node-monitor-grace-period": "24h",
        }


class Scheduler(_Client):
    """The scheduler."""

    name = "kube-scheduler"


class ControlPlane:
    """All four below `folder`, reached at `address`. Raises NotFoundError when their programs were not obtained."""

    def __init__(self, folder: Path, address: str = HOST) -> None:
        self.identities = Identities(folder / "identities")
        self.etcd = Etcd(folder / "etcd")
        self.api = ApiServer(folder / "apiserver", self.etcd, self.identities, address)
        server = self.api.url
        self.kubeconfig = self.identities.kubeconfig("admin", subject="/O=system:masters/CN=admin", server=server)
        self.clients = [
            ControllerManager(folder / "controller-manager", self.identities, server),
            Scheduler(folder / "scheduler", self.identities, server),
        ]

    @property
    def servers(self) -> list[LocalServer]:
        """In the order in which they start."""
        return [self.etcd, self.api, *self.clients]

    def start(self) -> Self:
        """Returns once all answer. Raises UnavailableError with the end of the log of one that does not."""
        self.etcd.start()
        self.api.start()
        for client in self.clients:
            client.launch()
        for client in self.clients:
            client.wait_ready()
        return self

    def stop(self) -> None:
        """Ends them in reverse order."""
        for server in reversed(self.servers):
            server.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


def says_ok(url: str, authority: Path | None = None) -> bool:
    """Whether a health page answers with status 200, with a certificate that `authority` signed if it has one."""
    context = ssl.create_default_context(cafile=authority) if authority else None
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS, context=context):  # noqa: S310 - an URL of ours
            return True
    except OSError:
        return False
