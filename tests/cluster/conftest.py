"""For tests of the chart on a real API server: namespaces that enforce PodSecurity restricted, and helm in them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.namespaces import Namespace
from tests.control_plane import Cluster
from tests.servers import need
from tools.chart_tools import tool

_NUMBERS = itertools.count(1)
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_FOREIGN = {
    "cert-manager.io/v1": ("Certificate",),
    "keda.sh/v1alpha1": ("ScaledObject", "TriggerAuthentication"),
    "monitoring.coreos.com/v1": ("PodMonitor", "PrometheusRule", "ServiceMonitor"),
}
"""What the chart uses of others. Their definitions here take any field: fields of ours are not proven to be theirs."""


@pytest.fixture(scope="session")
def foreign_kinds(control_plane: Cluster) -> None:
    """The API server knows the kinds of KEDA, cert-manager and the Prometheus operator."""
    definitions = [_definition(version, kind) for version, kinds in _FOREIGN.items() for kind in kinds]
    control_plane.kubectl("apply", "-f-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions}))
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=120s")


@pytest.fixture(scope="session")
def helm_binary() -> str:
    need(lambda: tool("helm"))
    return str(tool("helm"))


@pytest.fixture
def namespace(control_plane: Cluster, foreign_kinds: None, helm_binary: str) -> Iterator[Namespace]:  # noqa: ARG001 - known before
    """A namespace that refuses every pod that is not `restricted`; it is deleted afterwards, with what is in it."""
    name = f"test-{next(_NUMBERS)}"
    enforced = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    control_plane.make_namespace(name, enforced)
    made = Namespace(control_plane, name, helm_binary)
    yield made
    made.helm("uninstall", name, "--ignore-not-found")
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def _definition(version: str, kind: str) -> dict[str, Any]:
    group, _, number = version.partition("/")
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": number, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [served],
        },
    }
