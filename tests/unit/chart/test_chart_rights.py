"""Rights in the cluster: the trainer's alone, in its namespace alone, and no more than its code asks for."""

from __future__ import annotations

import pytest
from chart_render import PROFILES, Object, profile, rendered

JOBS = {("batch", "jobs"): {"create", "delete", "get", "list"}}
JOBSETS = {("jobset.x-k8s.io", "jobsets"): {"create", "delete", "get", "list"}}
OLD_JOBS = {("batch", "jobs"): {"delete", "get", "list"}}
OLD_JOBSETS = {("jobset.x-k8s.io", "jobsets"): {"delete", "get", "list"}}
ALWAYS = {
    ("", "configmaps"): {"create", "get"},
    ("", "services"): {"create", "get"},
    ("", "pods"): {"list"},
    ("", "pods/log"): {"get"},
    ("coordination.k8s.io", "leases"): {"create", "get", "update"},
    ("retrograde.dev", "runs"): {"list", "watch", "patch"},
    ("retrograde.dev", "runs/status"): {"patch"},
}


def rights(**values: Object) -> dict[tuple[str, str], set[str]]:
    rules = rendered(**values).one("Role", "trainer")["rules"]
    return {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize(
    ("backend", "own"),
    [("indexed", JOBS | OLD_JOBSETS), ("jobset", JOBSETS | OLD_JOBS), ("auto", JOBS | JOBSETS)],
)
def test_rights_are_those_of_the_backend(backend: str, own: dict[tuple[str, str], set[str]]) -> None:
    """What makes Jobs may make Jobs, what makes JobSets may make JobSets; either may end both, and reads no secrets."""
    assert rights(job={"backend": backend}) == ALWAYS | own


def test_several_trainers_may_label_a_pod() -> None:
    """Changing pods is a right that a single trainer does not have."""
    assert rights(trainer={"replicas": 2})["", "pods"] == {"list", "patch"}


@pytest.mark.parametrize("name", PROFILES)
def test_nobody_else_has_rights(name: str) -> None:
    """There is one Role, bound to the trainer's account, and nothing of the whole cluster."""
    chart = profile(name)
    (binding,) = chart.of("RoleBinding")
    assert len(chart.of("Role")) == 1
    assert chart.of("ClusterRole") == chart.of("ClusterRoleBinding") == []
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r-trainer"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "r-trainer", "namespace": "n"}]
