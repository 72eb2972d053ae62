"""The chart on a real API server: accepted under PodSecurity restricted, upgraded, rolled back, gone whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cluster.namespaces import CHART, Namespace, profile
from tests.control_plane import until
from tests.unit.chart.chart_render import ALL_ON

PROFILES = ("cpu", "gpu", "production")
STRICTLY = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
OF_THE_CLUSTER = "priorityclasses,clusterroles,clusterrolebindings"


def wanted_pods(namespace: Namespace) -> int:
    workloads = namespace.objects("deployments,statefulsets")
    return sum(workload["spec"]["replicas"] for workload in workloads)


def tags(namespace: Namespace) -> set[str]:
    """Of the images that Deployments run."""
    pods = [each["spec"]["template"]["spec"] for each in namespace.objects("deployments")]
    return {container["image"].rpartition(":")[2] for pod in pods for container in pod["containers"]}


@pytest.mark.parametrize("name", PROFILES)
def test_profile_is_accepted(namespace: Namespace, name: str) -> None:
    """The API server knows every field of a profile, and lets its workloads and jobs make their pods `restricted`."""
    namespace.install(name)
    namespace.kubectl("apply", *STRICTLY, "-f-", given=namespace.template(*profile(name)))
    until(lambda: len(namespace.objects("pods")) >= wanted_pods(namespace), f"the pods of profile {name}")
    events = namespace.objects("events", "--field-selector=reason=FailedCreate")
    assert [event["message"] for event in events] == []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job"}, "spec": namespace.job_template()["spec"]}
    namespace.create(pod, "--dry-run=server")


def test_every_setting_is_accepted(namespace: Namespace, tmp_path: Path) -> None:
    """With all that can be enabled the API server knows every field, others' kinds as they define them."""
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(ALL_ON), encoding="utf-8")
    made = namespace.template(
        "-f", str(tmp_path / "values.yaml"), "--set", "priorityClasses.create=false,trainer.replicas=2"
    )
    namespace.kubectl("apply", *STRICTLY, "-f-", given=made)
    kinds = {each["kind"]: each for each in yaml.safe_load_all(made)}
    for kind in (
        "Certificate",
        "PodMonitor",
        "PrometheusRule",
        "ScaledObject",
        "ServiceMonitor",
        "TriggerAuthentication",
    ):
        kinds[kind]["spec"]["misspelt"] = 1
        with pytest.raises(AssertionError, match=r"spec\.misspelt"):
            namespace.kubectl("apply", *STRICTLY, "-f-", given=json.dumps(kinds[kind]))


def test_a_pod_that_is_not_restricted_is_refused(namespace: Namespace) -> None:
    """The namespaces of these tests do refuse a pod: one that could be root."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root"}, "spec": {"containers": [{"name": "c"}]}}
    pod["spec"]["containers"][0]["image"] = "any"
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        namespace.create(pod)


def test_upgrade_rollback_uninstall(namespace: Namespace) -> None:
    """An upgrade and a rollback change what runs, and an uninstall leaves what was there before the install."""
    before = namespace.everything(), namespace.kubectl("get", OF_THE_CLUSTER, "-oname")
    namespace.install("production", "--set", "image.tag=one")
    assert tags(namespace) == {"one"}
    namespace.helm(
        "upgrade", namespace.name, CHART, *profile("production"), "--set", "image.tag=two", "--set", "job.queue=q"
    )
    assert tags(namespace) == {"two"}
    namespace.helm("rollback", namespace.name, "1")
    assert tags(namespace) == {"one"}
    namespace.helm("uninstall", namespace.name, "--wait")
    until(lambda: namespace.everything() == before[0], f"nothing left but {before[0]}: {namespace.everything()}")
    assert namespace.kubectl("get", OF_THE_CLUSTER, "-oname") == before[1]
