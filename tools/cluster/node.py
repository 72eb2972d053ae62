"""A real node, inside namespaces of its own: containerd <- kubelet, kube-proxy, CoreDNS.

The kubelet runs as it does elsewhere; what is set otherwise is what a container or a small machine does not allow:
cgroups of version 1, no negative oom_score_adj, no swap check.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from retrograde.cli.servers.local_server import HOST, LocalServer
from tools.cluster.control_plane import PODS, says_ok
from tools.cluster.identities import Identities
from tools.cluster.obtain import DEBIAN, NODE

NODE_NAME = "node"
NODE_ADDRESS = "10.250.0.10"
POD_RANGE = "10.251.0.0/24"
PAUSE_IMAGE = "registry.local/pause:dev"


class Containerd(LocalServer):
    """Runs containers, with runc and the CNI plugins of Debian's packages."""

    name = "containerd"

    @property
    def socket(self) -> Path:
        """Where the kubelet finds it."""
        return self.folder / "containerd.sock"

    def prepare(self) -> None:
        """Writes its configuration and the pods' network: each pod has a link of its own to the node, which routes."""
        (self.folder / "config.toml").write_text(self._configuration(), encoding="utf-8")
        (self.folder / "cni").mkdir(exist_ok=True)
        ranges = [[{"subnet": POD_RANGE}]]
        addresses = {"type": "host-local", "dataDir": str(self.folder / "addresses"), "ranges": ranges}
        plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses | {"routes": [{"dst": "0.0.0.0/0"}]}}
        network = {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}
        (self.folder / "cni" / "pods.conflist").write_text(json.dumps(network), encoding="utf-8")

    def command(self) -> Sequence[str]:
        """With its own data."""
        return [str(DEBIAN.folder() / "usr/bin/containerd"), "--config", str(self.folder / "config.toml")]

    def environment(self) -> Mapping[str, str]:
        """With the packages' programs and libraries."""
        return debian_environment()

    def answers(self) -> bool:
        """Whether it tells its metrics."""
        return says_ok(f"http://{HOST}:{self.ports[0]}/v1/metrics")

    def _configuration(self) -> str:
        root = DEBIAN.folder()
        return f"""version = 2
root = '{self.folder}/root'
state = '{self.folder}/state'
disabled_plugins = ['io.containerd.snapshotter.v1.aufs', 'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.devmapper']
[grpc]
  address = '{self.socket}'
[metrics]
  address = '{HOST}:{self.ports[0]}'
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = '{PAUSE_IMAGE}'
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]
      BinaryName = '{root}/usr/sbin/runc'
      SystemdCgroup = false
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = '{root}/usr/lib/cni'
    conf_dir = '{self.folder}/cni'
"""


class Kubelet(LocalServer):
    """The kubelet."""

    name = "kubelet"
    num_ports = 2

    def __init__(self, folder: Path, identities: Identities, server: str, containerd: Containerd) -> None:
        super().__init__(folder)
        self.identities, self.containerd = identities, containerd
        subject = f"/O=system:nodes/CN=system:node:{NODE_NAME}"
        self.kubeconfig = identities.kubeconfig(self.name, subject=subject, server=server)

    def prepare(self) -> None:
        """Writes its configuration; pods resolve names with CoreDNS and nothing else."""
        (self.folder / "resolv.conf").write_text(f"nameserver {NODE_ADDRESS}\n", encoding="utf-8")
        configuration = self._identity() | self._machine()
        (self.folder / "config.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")

    def command(self) -> Sequence[str]:
        """With its own data."""
        flags = {
            "config": self.folder / "config.yaml",
            "kubeconfig": self.kubeconfig,
            "root-dir": self.folder / "root",
            "hostname-override": NODE_NAME,
            "node-ip": NODE_ADDRESS,
        }
        return [str(NODE.folder() / "kubelet"), *(f"--{k}={v}" for k, v in flags.items())]

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it says that it is healthy."""
        return says_ok(f"http://{HOST}:{self.ports[0]}/healthz")

    def _identity(self) -> dict[str, Any]:
        names = f"IP:{NODE_ADDRESS},DNS:{NODE_NAME}"
        certificate, key = self.identities.certificate("kubelet", subject=f"/CN={NODE_NAME}", names=names)
        authority = {"clientCAFile": str(self.identities.authority)}
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_ADDRESS,
            "port": self.ports[1],
            "healthzBindAddress": HOST,
            "healthzPort": self.ports[0],
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": authority},
            "authorization": {"mode": "Webhook"},
        }

    def _machine(self) -> dict[str, Any]:
        return {
            "containerRuntimeEndpoint": f"unix://{self.containerd.socket}",
            "clusterDNS": [NODE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(self.folder / "resolv.conf"),
            "podLogsDir": str(self.folder / "podlogs"),
            "volumePluginDir": str(self.folder / "plugins"),
            "failCgroupV1": False,
            "failSwapOn": False,
            "cgroupDriver": "cgroupfs",
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
            "makeIPTablesUtilChains": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
            "nodeStatusUpdateFrequency": "5s",
            "syncFrequency": "10s",
        }


class KubeProxy(LocalServer):
    """Sends what is addressed to a Service to one of its pods, by rules of nftables."""

    name = "kube-proxy"
    num_ports = 2

    def __init__(self, folder: Path, identities: Identities, server: str) -> None:
        super().__init__(folder)
        self.kubeconfig = identities.kubeconfig(self.name, subject="/CN=system:kube-proxy", server=server)

    def prepare(self) -> None:
        """Writes its configuration."""
        configuration = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": NODE_NAME,
            "clusterCIDR": PODS,
            "bindAddress": NODE_ADDRESS,
            "healthzBindAddress": f"{HOST}:{self.ports[0]}",
            "metricsBindAddress": f"{HOST}:{self.ports[1]}",
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")

    def command(self) -> Sequence[str]:
        """With its configuration."""
        return [str(NODE.folder() / "kube-proxy"), f"--config={self.folder / 'config.yaml'}"]

    def environment(self) -> Mapping[str, str]:
        """With the packages' programs and libraries."""
        return debian_environment()

    def answers(self) -> bool:
        """Whether it says that it is healthy."""
        return says_ok(f"http://{HOST}:{self.ports[0]}/healthz")


class CoreDns(LocalServer):
    """Answers the names of Services and pods; other names it refuses, for nothing of a pod goes outside."""

    name = "coredns"

    def __init__(self, folder: Path, identities: Identities, server: str) -> None:
        super().__init__(folder)
        self.kubeconfig = identities.kubeconfig(self.name, subject="/O=system:masters/CN=coredns", server=server)

    def prepare(self) -> None:
        """Writes its configuration."""
        names = f"  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {self.kubeconfig}\n    ttl 5\n  }}\n"
        lines = f"  bind {NODE_ADDRESS}\n  errors\n  ready {HOST}:{self.ports[0]}\n  cache 5\n"
        (self.folder / "Corefile").write_text(f".:53 {{\n{lines}{names}}}\n", encoding="utf-8")

    def command(self) -> Sequence[str]:
        """With its configuration."""
        return [str(NODE.folder() / "coredns"), "-conf", str(self.folder / "Corefile")]

    def environment(self) -> Mapping[str, str]:
        """Ours."""
        return os.environ

    def answers(self) -> bool:
        """Whether it has read the cluster's Services."""
        return says_ok(f"http://{HOST}:{self.ports[0]}/ready")


def debian_environment() -> dict[str, str]:
    """Ours, in which the unpacked packages' programs are found and find their libraries."""
    root = DEBIAN.folder()
    libraries = ":".join(str(path) for path in sorted(root.rglob("*-linux-gnu")))
    path = f"{root}/usr/bin:{root}/usr/sbin:{os.environ['PATH']}:/usr/sbin:/sbin"
    return os.environ | {"PATH": path, "LD_LIBRARY_PATH": libraries}
