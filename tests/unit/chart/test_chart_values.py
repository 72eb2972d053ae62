"""A value that the chart does not know, or of the wrong kind, is an error that names its key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chart_render import CHART, PROFILES, profile, refusal

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
MAY_BE_EMPTY = {"affinity", "parameters", "resources", "secretNames"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"serach": {"replicas": 2}}, "additional properties 'serach' not allowed"),
        ({"search": {"replica": 2}}, "at '/search': additional properties 'replica' not allowed"),
        ({"search": {"replicas": "two"}}, "at '/search/replicas': got string, want integer"),
        ({"trainer": {"replicas": 2}, "job": {"backend": "local"}}, "trainer.replicas: job.backend local has no lease"),
        ({"rollouts": {"replicas": 3}}, "at '/rollouts/replicas': maximum: got 3, want 1"),
        ({"kafka": {"brokers": []}}, "at '/kafka/brokers': minItems: got 0, want 1"),
        ({"kafka": {"brokers": ["kafka"]}}, "at '/kafka/brokers/0': 'kafka' does not match pattern"),
        ({"kafka": {"tls": {"enable": True}}}, "at '/kafka/tls': additional properties 'enable' not allowed"),
        ({"kafka": {"sasl": {"mechanism": "GSSAPI"}}}, "at '/kafka/sasl/mechanism': value must be one of"),
        ({"s3": {"endpoint": "minio:9000"}}, "at '/s3/endpoint': 'minio:9000' does not match pattern"),
        ({"s3": {"accessKey": "AKIA"}}, "at '/s3': additional properties 'accessKey' not allowed"),
        ({"image": {"pullPolicy": "always"}}, "at '/image/pullPolicy': value must be one of"),
        ({"autoscaling": {"mode": "lag"}}, "at '/autoscaling/mode': value must be one of"),
        ({"networkPolicy": {"enabled": "yes"}}, "at '/networkPolicy/enabled': got string, want boolean"),
        ({"networkPolicy": {"ports": {"dns": []}}}, "at '/networkPolicy/ports/dns': minItems: got 0, want 1"),
        ({"inference": {"resources": {"limits": {"memory": "8GB"}}}}, "at '/inference/resources/limits/memory'"),
        ({"job": {"ttlSeconds": 0}}, "at '/job/ttlSeconds': minimum: got 0, want 60"),
        ({"job": {"tolerations": [{"effect": "NoRun"}]}}, "at '/job/tolerations/0/effect': value must be one of"),
        ({"tls": {"secretNames": {"searhc": "x"}}}, "at '/tls/secretNames': additional properties 'searhc' not"),
        ({"podSecurityContext": {"runAsUser": 0}}, "at '/podSecurityContext/runAsUser': minimum: got 0, want 1"),
        (
            {"podSecurityContext": {"privileged": True}},
            "at '/podSecurityContext': additional properties 'privileged' not",
        ),
        ({"search": {"extraContainers": [{"name": "x"}]}}, "at '/search/extraContainers/0': missing property 'image'"),
        ({"job": {"protectedFrom": "all"}}, "at '/job/protectedFrom': value must be one of"),
        ({"search": {"nodeselector": {}}}, "at '/search': additional properties 'nodeselector' not allowed"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], words: str) -> None:
    """The error has the path of the key and what is wrong with it."""
    assert words in refusal(**values)


def objects_of(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All parts of the schema that describe objects by their properties."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield path, schema
        for key, part in schema.items():
            yield from objects_of(part, f"{path}/{key}")


def test_the_schema_is_closed() -> None:
    """Every object whose keys are known refuses others."""
    assert [path for path, part in objects_of(SCHEMA) if part.get("additionalProperties") is not False] == []


def properties_at(path: tuple[str, ...]) -> dict[str, Any]:
    """The keys that the schema knows at `path` of the values; {} where values may have any."""
    part = SCHEMA
    for key in path:
        part = part["properties"][key]
        part = SCHEMA["definitions"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    found: dict[str, Any] = part.get("properties", {})
    return found


def missing_keys(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    known = properties_at(path)
    yield from ((*path, key) for key in known if key not in values)
    for key in known:
        if isinstance(values.get(key), dict) and key not in MAY_BE_EMPTY:
            yield from missing_keys(values[key], (*path, key))


def test_every_key_is_in_the_values() -> None:
    """values.yaml shows each key that the schema knows, so that whoever reads it has seen all there is."""
    assert list(missing_keys(VALUES)) == [("global",)]  # Helm's own


def test_every_key_is_explained() -> None:
    """A key of values.yaml has a comment above it, or has the name of one that was explained before."""
    explained: set[str] = set()
    bare = []
    above = ""
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        key = re.match(r" *(\w+):", line)
        if key and not above.lstrip().startswith("#") and key[1] not in explained:
            bare.append(line)
        explained |= {key[1]} if key else set()
        above = line
    assert bare == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_accepted(name: str) -> None:
    """Its values are in the schema, and something is made of them for every service."""
    assert len(profile(name).of("Deployment")) == 5
    assert len(profile(name).of("StatefulSet")) == 1
