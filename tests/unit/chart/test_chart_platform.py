"""What whoever runs the cluster decides about pods: users, company in the pod, accounts, eviction, priority."""

from __future__ import annotations

import pytest
from chart_render import ALL_ON, PODS, SERVICES, Object, profile, rendered

from retrograde.runtime.adapters.s3_settings import parse_s3_url

REPLICATED = (*SERVICES, "job")


@pytest.mark.parametrize("component", REPLICATED)
def test_containers_are_added(component: str) -> None:
    """The values' own come before it, or after the component's, which stays the first."""
    before, beside = ({"name": name, "image": name} for name in ("before", "beside"))
    own = {"extraInitContainers": [before], "extraContainers": [beside]}
    spec = rendered(**dict.fromkeys(REPLICATED, own)).pod(component)["spec"]
    assert spec["initContainers"] == [before]
    assert [each["name"] for each in spec["containers"]] == ["train" if component == "job" else component, "beside"]
    assert spec["containers"][1] == beside
    assert "initContainers" not in profile("defaults").pod(component)["spec"]


@pytest.mark.parametrize("component", PODS)
def test_users_may_be_the_platforms_choice(component: str) -> None:
    """A user or group that is null is not in the pod; the others are those given, and root is still refused."""
    own = {"runAsUser": None, "runAsGroup": None, "fsGroup": 1000660000, "supplementalGroups": [70]}
    chosen = rendered(podSecurityContext=own).pod(component)["spec"]["securityContext"]
    fixed = {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert chosen == fixed | {"fsGroup": 1000660000, "supplementalGroups": [70]}
    ours = {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    assert profile("defaults").pod(component)["spec"]["securityContext"] == fixed | ours


@pytest.mark.parametrize("component", REPLICATED)
def test_accounts_have_the_values_annotations(component: str) -> None:
    """Each its own; by default none has any."""
    roles = {name: {"serviceAccountAnnotations": {"role": f"of-{name}"}} for name in REPLICATED}
    accounts = [chart.one("ServiceAccount", component)["metadata"] for chart in (rendered(**roles), rendered())]
    assert [account.get("annotations") for account in accounts] == [{"role": f"of-{component}"}, None]


@pytest.mark.parametrize("component", [name for name in REPLICATED if name != "verifier"])
def test_the_store_may_be_opened_by_the_account(component: str) -> None:
    """Then no key is mounted, the authority of the store still is, and the URL says whose keys are used."""
    own, trusting = rendered(s3={"identity": "account"}), rendered(s3={"identity": "account", "ca": True})
    assert s3_items(own.pod(component)) == []
    assert s3_items(trusting.pod(component)) == ["ca.crt"]
    assert s3_items(profile("defaults").pod(component)) == ["access_key", "secret_key"]
    store = own.settings("trainer" if component == "job" else component)["store"]
    assert parse_s3_url(store).key_files is None


def s3_items(pod: Object) -> list[str]:
    """Keys of the store's Secret that a pod mounts."""
    (settings,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "settings"]
    secrets = [source.get("secret", {}) for source in settings["projected"]["sources"]]
    return [item["key"] for each in secrets if each.get("name") == "retrograde-s3" for item in each["items"]]


@pytest.mark.parametrize(
    ("protected_from", "is_annotated", "num_budgets"),
    [("nobody", False, 0), ("autoscalers", True, 0), ("drains", True, 1)],
)
def test_jobs_are_protected_as_values_say(protected_from: str, *, is_annotated: bool, num_budgets: int) -> None:
    """By annotations that autoscalers of nodes keep to, and from drains by a budget that lets none of their pods go."""
    chart = rendered(job={"protectedFrom": protected_from})
    metadata = chart.pod("job")["metadata"]
    marks = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
    assert metadata.get("annotations", {}) == (marks if is_annotated else {})
    budgets = [each["spec"] for each in chart.of("PodDisruptionBudget", "job")]
    assert len(budgets) == num_budgets
    for budget in budgets:
        assert budget["minAvailable"] >= 1000000
        assert budget["selector"]["matchLabels"].items() <= metadata["labels"].items()


def test_annotations_of_jobs_may_be_replaced() -> None:
    """The values' own come before the chart's of the same name."""
    own = {"karpenter.sh/do-not-disrupt": "false"}
    assert own.items() <= rendered(job={"podAnnotations": own}).pod("job")["metadata"]["annotations"].items()


def test_priority_classes_are_used_where_they_are_made() -> None:
    """Services have one, jobs another that makes nobody leave."""
    chart = rendered(**ALL_ON)
    names = {name: chart.pod(name)["spec"]["priorityClassName"] for name in PODS}
    assert names == {name: "r-n-job-10000" if name == "job" else "r-n-service-100000" for name in PODS}
    assert chart.one("PriorityClass", "n-job-10000")["preemptionPolicy"] == "Never"
    assert chart.one("PriorityClass", "n-service-100000")["value"] == 100000
    assert "priorityClassName" not in profile("defaults").pod("search")["spec"]


def test_another_priority_is_another_class() -> None:
    """Kubernetes lets nobody change a class's value: a new value makes a new class, which the pods then name."""
    chart = rendered(priorityClasses={"create": True, "job": 2000000})
    assert chart.one("PriorityClass", "n-job-2000000")["value"] == 2000000
    assert chart.pod("job")["spec"]["priorityClassName"] == "r-n-job-2000000"
