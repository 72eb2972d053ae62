"""Each template makes its objects when it is asked for, and nothing when it is not."""

from __future__ import annotations

import pytest
from chart_render import ALL_ON, CHART, FEATURES_OFF, PODS, PROFILES, SERVICES_OFF, Rendered, profile, rendered

TEMPLATES = sorted(path.relative_to(CHART / "templates").as_posix() for path in (CHART / "templates").rglob("*.yaml"))
BY_CPU = [name for name in TEMPLATES if name.endswith("hpa.yaml")]
OF_FEATURES = [
    name
    for name in TEMPLATES
    if name.rpartition("/")[2]
    in {
        "certificate.yaml",
        "door.yaml",
        "hpa.yaml",
        "monitor.yaml",
        "networkpolicy.yaml",
        "pdb.yaml",
        "scaledobject.yaml",
        "role.yaml",
        "rolebinding.yaml",
        "priorityclasses.yaml",
        "prometheusrule.yaml",
        "dashboards.yaml",
        "triggerauthentication.yaml",
    }
]
OF_SERVICES = [name for name in TEMPLATES if name.partition("/")[0] in {*PODS, "tests"}]
SIX_LABELS = {
    f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "version", "part-of", "managed-by")
}


def all_objects() -> Rendered:
    return rendered(**ALL_ON)


def test_every_template_can_be_switched_off() -> None:
    """There is no template that neither a feature nor a service switches."""
    assert set(OF_FEATURES) | set(OF_SERVICES) == set(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_makes_objects_when_asked_for(template: str) -> None:
    """With everything on it is among what is made; scaling by CPU is asked for instead of scaling by lag."""
    values = ALL_ON | {"autoscaling": {"mode": "hpa"}} if template in BY_CPU else ALL_ON
    assert template in rendered(**values).templates


@pytest.mark.parametrize("template", OF_FEATURES)
def test_a_feature_that_is_off_makes_nothing(template: str) -> None:
    """With its feature off, and all services on, the template makes nothing."""
    assert template not in rendered(**FEATURES_OFF).templates


@pytest.mark.parametrize("template", OF_SERVICES)
def test_a_service_that_is_off_makes_nothing(template: str) -> None:
    """With its service off, and all features on, the template makes nothing."""
    assert template not in rendered(**SERVICES_OFF).templates


@pytest.mark.parametrize("name", PROFILES)
def test_no_object_is_made_twice(name: str) -> None:
    """Kind and name are an object's own."""
    identities = [(each["kind"], each["metadata"]["name"]) for _, each in profile(name).objects]
    assert sorted(set(identities)) == sorted(identities)


@pytest.mark.parametrize("template", sorted(set(TEMPLATES) - set(BY_CPU)))
def test_objects_say_what_they_belong_to(template: str) -> None:
    """All objects have the six labels, the release's name before their own, and its namespace if they have one."""
    for made_by, each in all_objects().objects:
        if made_by == template:
            assert set(each["metadata"]["labels"]) >= SIX_LABELS
            assert each["metadata"]["name"].startswith("r-")
            assert each["metadata"].get("namespace") == (None if each["kind"] == "PriorityClass" else "n")


def test_names_follow_the_override() -> None:
    """`fullnameOverride` replaces the release's name in the names of objects and in the addresses of peers."""
    chart = rendered(fullnameOverride="astro")
    (config,) = [
        each for _, each in chart.objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "astro-search"
    ]
    assert "verifier: dns:///astro-verifier-pods.n.svc:50051" in config["data"]["config.yaml"]
