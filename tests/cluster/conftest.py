"""For tests of the chart on a real API server: namespaces that enforce PodSecurity restricted, and helm in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.cluster.namespaces import Namespace
from tests.control_plane import Cluster
from tests.servers import need
from tools.chart_tools import tool
from tools.cluster.obtain import KINDS

_NUMBERS = itertools.count(1)
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def foreign_kinds(control_plane: Cluster) -> None:
    """The API server knows the kinds of KEDA, cert-manager and the Prometheus operator, as they define them."""
    need(KINDS.folder)
    control_plane.kubectl("apply", "--server-side", "-f", str(KINDS.folder()))
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
