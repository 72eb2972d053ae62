"""What runs in the node's own namespaces, as their process 1: everything ends with it, pods and their mounts too.

mounts -> network -> control plane -> containerd, images -> kubelet, kube-proxy, CoreDNS -> FOLDER/ready -> policies
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from retrograde.cli.servers.local_server import START_SECONDS
from retrograde.cli.servers.obtain import run_tool
from retrograde.runtime.errors import UnavailableError
from tools.cluster.control_plane import ControlPlane
from tools.cluster.node import NODE_ADDRESS, NODE_NAME, Containerd, CoreDns, Kubelet, KubeProxy, debian_environment
from tools.cluster.obtain import CONTROL
from tools.cluster.pause import write_pause
from tools.cluster.policies import Policies

_EMPTY = ("/run", "/var/log", "/var/lib/cni", "/var/lib/kubelet")
"""Folders that the programs use without asking: they get empty ones that vanish."""
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""Settings of the whole machine that a kubelet sets: it sets files of ours instead."""
_LOOK_EVERY_SECONDS = 0.2
_ENFORCE_EVERY_SECONDS = 0.5


def become_first(folder: Path, images: list[Path]) -> None:
    """Runs the node in a child and collects whatever else ends, as process 1 has to; ends when the child does."""
    child = os.fork()
    if child == 0:
        run(folder, images)
        return
    while True:
        pid, status = os.wait()
        if pid == child:
            sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


def run(folder: Path, images: list[Path]) -> None:
    """Starts all of it and waits; raises UnavailableError when one does not start or ends."""
    _own_mounts(folder)
    _own_network()
    with ControlPlane(folder, NODE_ADDRESS) as plane:
        identities, server = plane.identities, plane.api.url
        containerd = Containerd(folder / "containerd").start()
        for image in [write_pause(folder / "pause.tar"), *images]:
            _import(containerd, image)
        proxy = KubeProxy(folder / "kube-proxy", identities, server)
        others = [Kubelet(folder / "kubelet", identities, server, containerd), proxy]
        others.append(CoreDns(folder / "coredns", identities, server))
        for each in others:
            each.launch()
        for each in others:
            each.wait_ready()
        _wait_for_node(plane.kubeconfig)
        policies = Policies(folder / "policies", identities, server)
        (folder / "ready").write_text(str(plane.kubeconfig), encoding="utf-8")
        servers = [*plane.servers, containerd, *others]
        while all(each.pid for each in servers):
            policies.enforce()
            time.sleep(_ENFORCE_EVERY_SECONDS)
        ended = next(each for each in servers if not each.pid)
        raise UnavailableError(f"{ended.name} ended by itself; {ended.log} ends with:\n{ended.last_words()}")


def _own_mounts(folder: Path) -> None:
    for each in _EMPTY:
        Path(each).mkdir(parents=True, exist_ok=True)
        run_tool(["mount", "-t", "tmpfs", "tmpfs", each], os.environ)
    copies = folder / "sysctl"
    copies.mkdir()
    for name in _SYSCTLS:
        copy, original = copies / name.replace("/", "."), Path("/proc/sys") / name
        copy.write_bytes(original.read_bytes())
        run_tool(["mount", "--bind", str(copy), str(original)], os.environ)


def _own_network() -> None:
    """The node's address on a link whose other end is here too, and a route: packets to Services are routed first."""
    gateway = NODE_ADDRESS.rpartition(".")[0] + ".1"
    for line in (
        "link set lo up",
        "link add node0 type veth peer name node1",
        "link set node1 up",
        f"addr add {NODE_ADDRESS}/24 dev node0",
        "link set node0 up",
        f"route add default via {gateway} dev node0 onlink",
    ):
        run_tool(["ip", *line.split()], os.environ)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")


def _import(containerd: Containerd, image: Path) -> None:
    command = ["ctr", "--address", str(containerd.socket), "--namespace", "k8s.io", "images", "import", str(image)]
    run_tool(command, debian_environment())


def _wait_for_node(kubeconfig: Path) -> None:
    """Returns once the node is Ready."""
    kubectl = [str(CONTROL.folder() / "kubectl"), f"--kubeconfig={kubeconfig}", "get", "node", NODE_NAME]
    path = """-ojsonpath={.status.conditions[?(@.type=="Ready")].status}"""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        found = subprocess.run([*kubectl, path], capture_output=True, text=True, check=False)
        if found.stdout == "True":
            return
        time.sleep(_LOOK_EVERY_SECONDS)
    raise UnavailableError(f"node {NODE_NAME} is not Ready after {START_SECONDS:.0f} s: {found.stdout}{found.stderr}")
