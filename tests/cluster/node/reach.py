"""Who can open a connection to whom on the real node, whose kernel enforces the chart's NetworkPolicies."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.node.release import SERVICES, Release
from tools.cluster.control_plane import USUAL_PORT
from tools.cluster.node import NODE_ADDRESS

Targets = dict[str, tuple[str, int]]
"""Name -> address and port."""
REACHED = {
    "verifier": set(),
    "inference": {"minio"},
    "search": {"inference", "verifier", "kafka", "minio"},
    "rewriter": {"inference", "verifier", "kafka", "minio"},
    "rollouts": {"inference", "verifier", "minio"},
    "trainer": {"inference", "verifier", "rollouts", "kafka", "minio", "api"},
}
"""Whom the pods of a service may speak to: the arrows of docs/architecture.md."""
_CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reached(target):
    try:
        socket.create_connection(target, timeout=5).close()
    except TimeoutError:
        return False
    return True

targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as threads:
    print(json.dumps(dict(zip(targets, threads.map(reached, map(tuple, targets.values()))))))
"""
"""Tries all targets at once. A policy drops what it does not allow: a connection that is refused is an error."""


def targets(release: Release) -> Targets:
    """A pod of each service, and of what they need."""
    found = {service: (release.pods(service)[0]["status"]["podIP"], 50051) for service in SERVICES}
    for name, port in (("kafka", 9092), ("minio", 9000)):
        (pod,) = release.objects("pods", f"-lapp.kubernetes.io/name={name}")
        found[name] = pod["status"]["podIP"], port
    return found | {"api": (NODE_ADDRESS, USUAL_PORT)}


def reached(release: Release, pod: str, wanted: Targets) -> set[str]:
    """Those that take a connection from the pod."""
    answer = release.kubectl("exec", pod, "--", "python", "-c", _CONNECT, json.dumps(wanted))
    return {name for name, answered in json.loads(answer).items() if answered}


def foreign_pod(name: str, like: dict[str, Any]) -> dict[str, Any]:
    """A pod with another's image and rights, which does nothing and has no label of the release."""
    container = {key: like["spec"]["containers"][0][key] for key in ("image", "imagePullPolicy", "securityContext")}
    container |= {"name": name, "command": ["python", "-c", "import signal; signal.pause()"]}
    spec = {"containers": [container], "securityContext": like["spec"]["securityContext"]}
    spec |= {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
