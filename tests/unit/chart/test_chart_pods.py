"""Pods are what PodSecurity `restricted` lets in, and what a platform team expects of them."""

from __future__ import annotations

from typing import Any

import pytest
from chart_render import ALL_ON, PODS, PROFILES, SERVICES, Object, profile, rendered

from retrograde.runtime.process import LIVE
from tools.images.definitions import IMAGES

RESTRICTED_VOLUMES = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
HOOKS: dict[str, Any] = {
    "nodeSelector": {"pool": "own"},
    "tolerations": [{"key": "own", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"own": 1}},
    "priorityClassName": "own",
    "runtimeClassName": "own",
}
LISTS: dict[str, Any] = {
    "extraVolumes": [{"name": "own", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "own", "mountPath": "/own"}],
    "extraEnv": [{"name": "OWN", "value": "1"}],
}
OF_REPLICAS: dict[str, Any] = {
    "podAnnotations": {"own": "yes"},
    "podLabels": {"own": "yes"},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
}
WITH_HOOKS = {name: HOOKS | LISTS | (OF_REPLICAS if name != "test" else {}) for name in PODS}
REPLICATED = [name for name in PODS if name != "test"]


def container(pod: Object) -> Object:
    (only,) = pod["spec"]["containers"]
    found: Object = only
    return found


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("component", PODS)
def test_pods_are_restricted(component: str, name: str) -> None:
    """No root, no privilege, no capability, the runtime's system calls only, and nothing of the node mounted."""
    spec = profile(name).pod(component)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec)
    assert all(set(volume) - {"name"} <= RESTRICTED_VOLUMES for volume in spec["volumes"])
    only = container(profile(name).pod(component))
    assert only["securityContext"]["allowPrivilegeEscalation"] is False
    assert only["securityContext"]["privileged"] is False
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPort" in port for port in only.get("ports", ()))


@pytest.mark.parametrize("component", PODS)
def test_root_is_read_only(component: str) -> None:
    """Nothing can be written but to volumes, and /tmp is one with a limit; caches go there."""
    pod = profile("defaults").pod(component)
    assert container(pod)["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "scratch", "mountPath": "/tmp"} in container(pod)["volumeMounts"]  # noqa: S108
    (scratch,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "scratch"]
    assert scratch["emptyDir"]["sizeLimit"]
    assert {"name": "HOME", "value": "/tmp"} in container(pod)["env"]  # noqa: S108


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("component", PODS)
def test_resources_are_stated(component: str, name: str) -> None:
    """CPU and memory are asked for, and both are limited."""
    resources = container(profile(name).pod(component))["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert {"cpu", "memory"} <= set(resources["limits"])


@pytest.mark.parametrize("component", ["inference", "job"])
def test_gpu_pods_ask_for_their_disk(component: str) -> None:
    """All that their volumes on the node's disk may hold fits into what they ask for, with 2 GiB for logs."""
    pod = profile("gpu").pod(component)
    disks = [volume["emptyDir"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume]
    on_disk = sum(int(disk["sizeLimit"].removesuffix("Gi")) for disk in disks if disk.get("medium") != "Memory")
    resources = container(pod)["resources"]
    asked = [resources[kind]["ephemeral-storage"] for kind in ("requests", "limits")]
    assert asked == [f"{on_disk + 2}Gi"] * 2


@pytest.mark.parametrize("component", PODS)
def test_only_the_trainer_has_a_token(component: str) -> None:
    """The API server's token is mounted where it is used only, and no variables of Services are injected."""
    spec = profile("defaults").pod(component)["spec"]
    assert spec["automountServiceAccountToken"] is (component == "trainer")
    assert spec["enableServiceLinks"] is False


def test_a_trainer_that_starts_processes_has_no_token() -> None:
    """With the local backend nobody calls the API server: there is neither token nor Role."""
    chart = rendered(job={"backend": "local"})
    assert chart.pod("trainer")["spec"]["automountServiceAccountToken"] is False
    assert chart.of("Role") == chart.of("RoleBinding") == []


@pytest.mark.parametrize("component", [*SERVICES, "job"])
def test_each_component_has_an_account_of_its_own(component: str) -> None:
    """Its pods run under r-<component>, whose token is not mounted by itself."""
    chart = profile("defaults")
    assert chart.pod(component)["spec"]["serviceAccountName"] == f"r-{component}"
    assert chart.one("ServiceAccount", component)["automountServiceAccountToken"] is False


@pytest.mark.parametrize("component", PODS)
def test_secrets_are_files(component: str) -> None:
    """Of no component does the environment hold anything of a Secret; arguments name the settings file alone."""
    only = container(rendered(**ALL_ON).pod(component))
    assert not any("valueFrom" in variable for variable in only["env"])
    assert "envFrom" not in only
    words = only.get("args", only.get("command", []))
    assert words[-2:] == (["--config", "/etc/retrograde/config.yaml"] if component != "job" else [])


@pytest.mark.parametrize(
    ("component", "mounted"),
    [
        ("inference", ["tls", "s3", "tokens"]),
        ("verifier", ["tls"]),
        ("search", ["tls", "kafka", "s3"]),
        ("rewriter", ["tls", "kafka", "s3"]),
        ("rollouts", ["tls", "s3", "tokens"]),
        ("trainer", ["tls", "kafka", "s3", "tokens"]),
        ("job", ["tls", "s3"]),
        ("test", ["tls"]),
    ],
)
def test_a_component_reads_the_secrets_it_needs(component: str, mounted: list[str]) -> None:
    """Under /etc/retrograde are folders of the secrets that it uses, and no others."""
    (settings,) = [
        volume for volume in rendered(**ALL_ON).pod(component)["spec"]["volumes"] if volume["name"] == "settings"
    ]
    sources = [source["secret"] for source in settings["projected"]["sources"] if "secret" in source]
    folders = [item["path"].partition("/")[0] for source in sources for item in source["items"]]
    assert list(dict.fromkeys(folders)) == mounted


@pytest.mark.parametrize("component", SERVICES)
def test_probes_ask_the_health_port(component: str) -> None:
    """All three are gRPC on the health port; one that waits for its broker is not ready, and is not started anew.

    The start-up has as long as `startupSeconds` says.
    """
    chart = rendered(ports={"health": 6000}, **{name: {"startupSeconds": 123} for name in SERVICES})
    only = container(chart.pod(component))
    probes = [only[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    live = {"port": 6000, "service": LIVE}
    assert [probe["grpc"] for probe in probes] == [live, {"port": 6000}, live]
    assert probes[0]["periodSeconds"] * probes[0]["failureThreshold"] == 125


@pytest.mark.parametrize("component", SERVICES)
def test_the_grace_outlasts_the_drain(component: str) -> None:
    """One value says how long a drain takes; the pod's grace period is 20 s above it."""
    chart = rendered(**{name: {"drainSeconds": 77} for name in SERVICES})
    assert chart.settings(component)["drain_seconds"] == 77
    assert chart.pod(component)["spec"]["terminationGracePeriodSeconds"] == 97


@pytest.mark.parametrize("component", SERVICES)
def test_other_settings_start_other_pods(component: str) -> None:
    """The hash of the settings is an annotation: a change of them replaces pods, a change elsewhere does not."""
    plain, same, other = (
        chart.pod(component)["metadata"]["annotations"]["checksum/config"]
        for chart in (rendered(), rendered(networkPolicy={"enabled": False}), rendered(logLevel="debug"))
    )
    assert plain == same != other


def test_another_pod_of_jobs_starts_the_trainer_again() -> None:
    """The template of job pods is read when the trainer starts: it is part of the hash."""
    hashes = [
        chart.pod("trainer")["metadata"]["annotations"]["checksum/config"]
        for chart in (rendered(), rendered(job={"nodeSelector": {"pool": "gpu"}}))
    ]
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("component", PODS)
def test_placement_is_taken_over(component: str, hook: str) -> None:
    """What says where pods run and how important they are stands in the pod as it was given."""
    assert rendered(**WITH_HOOKS).pod(component)["spec"][hook] == HOOKS[hook]


@pytest.mark.parametrize("component", PODS)
def test_extras_are_added(component: str) -> None:
    """Volumes, mounts and variables come after the chart's own."""
    pod = rendered(**WITH_HOOKS).pod(component)
    assert pod["spec"]["volumes"][-1] == LISTS["extraVolumes"][0]
    assert container(pod)["volumeMounts"][-1] == LISTS["extraVolumeMounts"][0]
    assert container(pod)["env"][-1] == LISTS["extraEnv"][0]


@pytest.mark.parametrize("component", REPLICATED)
def test_annotations_and_labels_are_added(component: str) -> None:
    """The pod's own stay, so that selectors still match."""
    metadata = rendered(**WITH_HOOKS).pod(component)["metadata"]
    assert metadata["annotations"]["own"] == metadata["labels"]["own"] == "yes"
    assert metadata["labels"]["app.kubernetes.io/component"] == component


@pytest.mark.parametrize("component", REPLICATED)
def test_spread_means_the_component(component: str) -> None:
    """A constraint without a selector spreads the pods of its own component."""
    (constraint,) = rendered(**WITH_HOOKS).pod(component)["spec"]["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "retrograde",
        "app.kubernetes.io/instance": "r",
        "app.kubernetes.io/component": component,
    }


@pytest.mark.parametrize("component", SERVICES)
def test_selectors_match_pods(component: str) -> None:
    """Workload, Service and disruption budget select the component's pods."""
    chart = profile("defaults")
    labels = chart.pod(component)["metadata"]["labels"]
    workload = chart.one("StatefulSet" if component == "inference" else "Deployment", component)
    selectors = [
        workload["spec"]["selector"]["matchLabels"],
        chart.one("Service", component)["spec"]["selector"],
        chart.one("PodDisruptionBudget", component)["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector == {key: labels[key] for key in selector}
        assert selector["app.kubernetes.io/component"] == component


@pytest.mark.parametrize("component", PODS)
def test_images_are_named_in_one_way(component: str) -> None:
    """Prefix, the component's name (the test uses search's), and the tag or digest."""
    name = "search" if component == "test" else component
    assert container(profile("defaults").pod(component))["image"] == f"retrograde/{name}:0.1.0"
    named = {name: {"image": {"name": f"my-{name}"}} for name in (*SERVICES, "job")}
    own = rendered(image={"prefix": "here/", "tag": "sha256:ab"}, **named)
    assert container(own.pod(component))["image"] == f"here/my-{name}@sha256:ab"


@pytest.mark.parametrize("component", SERVICES)
def test_a_pod_starts_its_service_in_any_image(component: str) -> None:
    """It names the command of the service's own image, and so a trainer starts in the job's, which names none."""
    chart = rendered(job={"backend": "local"}, trainer={"image": {"name": "job"}})
    only = container(chart.pod(component))
    assert (only["command"], only["args"]) == (list(IMAGES[component].command), list(IMAGES[component].arguments))


def test_who_must_be_alone_is_never_surged() -> None:
    """Two rollouts services never run side by side, nor do two trainers without an API server to agree by."""
    assert profile("defaults").one("Deployment", "rollouts")["spec"]["strategy"] == {"type": "Recreate"}
    trainer = rendered(job={"backend": "local"}).one("Deployment", "trainer")
    assert trainer["spec"]["strategy"] == {"type": "Recreate"}


def test_one_of_several_trainers_leads() -> None:
    """They have a lease, the leader a label by which the Service chooses it; a single trainer has the lease alone."""
    several, single = rendered(trainer={"replicas": 2}), profile("defaults")
    launch = [chart.settings("trainer")["launch"] for chart in (several, single)]
    assert [(each["lease"], each["label_leader"]) for each in launch] == [("r-trainer", True), ("r-trainer", False)]
    selectors = [chart.one("Service", "trainer")["spec"]["selector"] for chart in (several, single)]
    assert [selector.get("retrograde.dev/leader") for selector in selectors] == ["true", None]


@pytest.mark.parametrize("component", ["verifier", "search", "rewriter", "trainer"])
def test_others_are_surged(component: str) -> None:
    """A new pod serves, or stands by, before an old one goes."""
    strategy = profile("defaults").one("Deployment", component)["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


def test_inference_is_found_pod_by_pod() -> None:
    """Its Service has no address of its own: DNS gives all replicas, and clients choose by prefix."""
    chart = profile("defaults")
    service = chart.one("Service", "inference")
    assert service["spec"]["clusterIP"] == "None"
    assert chart.one("StatefulSet", "inference")["spec"]["serviceName"] == "r-inference"
    assert chart.settings("search")["inference"] == "dns:///r-inference.n.svc:50051"


@pytest.mark.parametrize("component", ["verifier", "search", "rewriter"])
def test_callers_find_all_replicas(component: str) -> None:
    """A headless Service of its own has the addresses of all ready pods; metrics are not read through it once more."""
    chart = profile("production")
    pods, service = (chart.one("Service", name) for name in (f"{component}-pods", component))
    assert (pods["spec"]["clusterIP"], pods["spec"]["selector"]) == ("None", service["spec"]["selector"])
    assert "publishNotReadyAddresses" not in pods["spec"]
    assert pods["spec"]["ports"] == service["spec"]["ports"][:1]
    assert "clusterIP" not in service["spec"]  # which nobody may change in an upgrade
    monitored = chart.one("ServiceMonitor", component)["spec"]["selector"]["matchLabels"]
    assert not monitored.items() <= pods["metadata"]["labels"].items()


def test_callers_of_ours_spread_their_calls() -> None:
    """Whoever calls a service with several replicas is told a name that stands for all of them."""
    for caller in ("search", "rewriter", "rollouts", "trainer"):
        settings = profile("production").settings(caller)
        assert settings["inference"] == "dns:///r-inference.n.svc:50051"
        assert settings["verifier"] == "dns:///r-verifier-pods.n.svc:50051"


def test_the_openai_door_is_opened_where_it_is_asked_for() -> None:
    """Its port is the container's, the Service's and the policy's, and it listens on the pod's address."""
    chart = rendered(**ALL_ON)
    ports = [port["port"] for port in chart.one("Service", "inference")["spec"]["ports"]]
    assert ports == [50051, 9090, 8000]
    assert chart.settings("inference")["openai_host"] == "0.0.0.0"  # noqa: S104
    assert [port["port"] for port in profile("defaults").one("Service", "inference")["spec"]["ports"]] == [50051, 9090]


def test_gpus_are_asked_for_in_the_gpu_profile() -> None:
    """Inference and training pods ask for one, which chooses their nodes whatever labels those have, past the taint."""
    chart = profile("gpu")
    asked = {name: container(chart.pod(name))["resources"]["limits"].get("nvidia.com/gpu", 0) for name in PODS}
    assert asked == {name: 1 if name in {"inference", "job"} else 0 for name in PODS}
    for name in ("inference", "job"):
        spec = chart.pod(name)["spec"]
        assert "nodeSelector" not in spec
        assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
