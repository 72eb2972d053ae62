"""Certificates say who a component is and where it answers; tokens open one more port, never in plaintext."""

from __future__ import annotations

import pytest
from chart_render import ALL_ON, DOORS, PODS, SERVICES, Object, profile, refusal, rendered

NAMED = {"enabled": True, "secretNames": {name: f"my-{name}" for name in PODS}}
CALLERS = {name: "cli" if name == "test" else name for name in PODS}


def names(component: str) -> list[str]:
    found: list[str] = rendered(**ALL_ON).one("Certificate", component)["spec"]["dnsNames"]
    return found


@pytest.mark.parametrize("component", PODS)
def test_a_certificate_says_who_calls(component: str) -> None:
    """By the one name of the platform's own domain; it serves both sides of a connection."""
    assert [name for name in names(component) if name.endswith(".retrograde")] == [f"{CALLERS[component]}.retrograde"]
    usages = rendered(**ALL_ON).one("Certificate", component)["spec"]["usages"]
    assert {"server auth", "client auth"} <= set(usages)


@pytest.mark.parametrize("component", SERVICES)
def test_a_certificate_is_for_the_address(component: str) -> None:
    """The host that callers are told is among its names."""
    settings = rendered(**ALL_ON).settings("test" if component == "search" else "trainer")
    address = {"search": "address", "trainer": "", "rewriter": ""}.get(component, component)
    host = settings[address].removeprefix("dns:///").partition(":")[0] if address else f"r-{component}.n.svc"
    assert host in names(component)


@pytest.mark.parametrize("component", PODS)
def test_a_pod_mounts_its_own_certificate(component: str) -> None:
    """The Secret is the one that its Certificate fills, or the one that values name."""
    own, named = (mounted_secret(component, **values) for values in (ALL_ON, ALL_ON | {"tls": NAMED}))
    assert own == rendered(**ALL_ON).one("Certificate", component)["spec"]["secretName"] == f"r-{component}-tls"
    assert named == f"my-{component}"


def mounted_secret(component: str, **values: Object) -> str:
    volumes = {volume["name"]: volume for volume in rendered(**values).pod(component)["spec"]["volumes"]}
    sources = volumes["settings"]["projected"]["sources"]
    (found,) = [
        source["secret"]["name"]
        for source in sources
        if any(item["path"] == "tls/tls.crt" for item in source.get("secret", {}).get("items", ()))
    ]
    return str(found)


@pytest.mark.parametrize("component", SERVICES)
def test_tokens_open_a_port_of_their_own(component: str) -> None:
    """Rollouts and trainer have it, in settings, pod, Service and policy; without tokens nobody has."""
    on, off = rendered(**ALL_ON), profile("defaults")
    is_public = component in {"rollouts", "trainer"}
    assert on.settings(component).get("public_port") == (50053 if is_public else None)
    assert "public_port" not in off.settings(component)
    for chart, expected in ((on, is_public), (off, False)):
        (only,) = chart.pod(component)["spec"]["containers"]
        assert (50053 in [port["containerPort"] for port in only["ports"]]) is expected
        assert (50053 in [port["port"] for port in chart.one("Service", component)["spec"]["ports"]]) is expected
        rules = chart.one("NetworkPolicy", component)["spec"]["ingress"]
        assert any(port["port"] == 50053 for rule in rules for port in rule.get("ports", ())) is expected


@pytest.mark.parametrize(("component", "port"), [("inference", 8000), ("rollouts", 50053), ("trainer", 50053)])
def test_a_door_from_outside_has_one_port(component: str, port: int) -> None:
    """Its Service leads to the component's pods, and to the port that takes tokens alone."""
    chart = rendered(**ALL_ON)
    door, inner = chart.one("Service", f"{component}-door")["spec"], chart.one("Service", component)["spec"]
    assert (door["type"], [each["port"] for each in door["ports"]]) == ("LoadBalancer", [port])
    assert door["selector"] == inner["selector"]


def test_a_door_leads_to_the_trainer_that_leads() -> None:
    """Of several trainers only the leader is behind it."""
    chart = rendered(**(ALL_ON | {"trainer": {"replicas": 2}}))
    assert chart.one("Service", "trainer-door")["spec"]["selector"]["retrograde.dev/leader"] == "true"


def test_a_door_is_made_as_values_say() -> None:
    """Annotations and the addresses that may come in are the values', and pods see those addresses."""
    door = {"type": "LoadBalancer", "annotations": {"cloud": "internal"}, "sourceRanges": ["10.0.0.0/8"]}
    made = rendered(**(ALL_ON | {"doors": {"rollouts": door}})).one("Service", "rollouts-door")
    assert made["metadata"]["annotations"] == {"cloud": "internal"}
    assert made["spec"]["loadBalancerSourceRanges"] == ["10.0.0.0/8"]
    assert made["spec"]["externalTrafficPolicy"] == "Local"


@pytest.mark.parametrize("component", PODS)
def test_a_certificate_has_the_names_of_its_door(component: str) -> None:
    """Those under which callers from outside know the component, and nobody else's."""
    expected = [f"{component}.example.com"] if component in DOORS else []
    assert [name for name in names(component) if name.endswith("example.com")] == expected


@pytest.mark.parametrize("component", DOORS)
def test_a_door_without_tokens_is_refused(component: str) -> None:
    """The error names the key and what is missing."""
    words = refusal(doors={component: {"type": "LoadBalancer"}})
    assert f"doors.{component}.type: there is no port that takes tokens; set tokens.secretName" in words


def test_tokens_are_refused_in_plaintext() -> None:
    """The error names the key and both ways out."""
    assert "tokens.secretName: tokens do not travel in plaintext; set tls.enabled" in refusal(
        tokens={"secretName": "doors"}
    )


def token_keys(component: str, **values: Object) -> list[str]:
    """Of the Secret of tokens, what a pod of the component can read."""
    volumes = {volume["name"]: volume for volume in rendered(**values).pod(component)["spec"]["volumes"]}
    secrets = [source.get("secret", {}) for source in volumes["settings"]["projected"]["sources"]]
    return [item["key"] for secret in secrets if secret.get("name") == "doors" for item in secret["items"]]


@pytest.mark.parametrize("component", PODS)
def test_a_token_opens_one_door(component: str) -> None:
    """A component with a door mounts the tokens of its own door alone, others mount none."""
    assert token_keys(component, **ALL_ON) == ([f"{component}.yaml"] if component in DOORS else [])


def test_inference_without_its_api_takes_no_tokens() -> None:
    """Where the OpenAI API has no port neither its settings nor its volume ask for a file of tokens."""
    values = ALL_ON | {"inference": {"config": {}}, "doors": {}}
    assert token_keys("inference", **values) == []
    assert "tokens" not in rendered(**values).settings("inference")


def test_no_secret_is_made() -> None:
    """Secrets are referred to by name only: none goes through Helm, whose releases keep all that they made."""
    assert rendered(**ALL_ON).of("Secret") == []
