"""What the chart writes is what the services read: each settings file goes through the service's own settings class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chart_render import ALL_ON, PROFILES, ROOT, SERVICES, Object, profile, refusal, rendered
from pydantic import BaseModel

from retrograde.core.problem import Problem, Verdict
from retrograde.runtime.adapters.kafka_settings import parse_kafka_url
from retrograde.runtime.adapters.s3_settings import parse_s3_url
from retrograde.tasks.task import load_task
from services.inference.settings import InferenceSettings
from services.rewriter.settings import RewriterSettings
from services.rollouts.settings import RolloutsSettings
from services.search.probe import ProbeSettings
from services.search.settings import SearchServiceSettings
from services.trainer.kubernetes.template import read_template
from services.trainer.settings import TrainerSettings
from services.verifier.settings import VerifierSettings

CLASSES: dict[str, type[BaseModel]] = {
    "inference": InferenceSettings,
    "verifier": VerifierSettings,
    "search": SearchServiceSettings,
    "rewriter": RewriterSettings,
    "rollouts": RolloutsSettings,
    "trainer": TrainerSettings,
    "test": ProbeSettings,
}
KAFKA = {
    "": {},
    "?ca_file=/etc/retrograde/kafka/ca.crt": {"tls": {"enabled": True}},
    "?cert_file=/etc/retrograde/kafka/tls.crt&key_file=/etc/retrograde/kafka/tls.key": {
        "tls": {"clientCertificate": True}
    },
    "?username_file=/etc/retrograde/kafka/username&password_file=/etc/retrograde/kafka/password"
    "&mechanism=SCRAM-SHA-512": {"sasl": {"enabled": True}},
    "?poll_seconds=60&replication=3": {"parameters": {"replication": 3, "poll_seconds": 60}},
}


def read(component: str, settings: Object) -> Any:
    """The settings as the service reads them; the model is where the image or the claim has it."""
    if component == "inference":
        settings = settings | {"checkpoint": str(ROOT / "models/countdown-base")}
    return CLASSES[component].model_validate(settings)


@pytest.mark.parametrize("component", CLASSES)
@pytest.mark.parametrize("name", PROFILES)
def test_a_service_accepts_its_settings(name: str, component: str) -> None:
    """In every profile, and it will listen where the chart sends its callers."""
    settings = read(component, profile(name).settings(component))
    if component == "test":
        assert settings.address == "dns:///r-search-pods.n.svc:50051"
    else:
        assert (settings.listen, settings.health_port, settings.metrics_port) == ("0.0.0.0:50051", 50052, 9090)


@pytest.mark.parametrize("component", CLASSES)
def test_a_service_accepts_settings_with_everything_on(component: str) -> None:
    """TLS is its own certificate."""
    settings = read(component, rendered(**ALL_ON).settings(component))
    assert settings.tls.certificate == Path("/etc/retrograde/tls/tls.crt")


@pytest.mark.parametrize("component", SERVICES)
def test_config_goes_over_what_the_chart_says(component: str) -> None:
    """Keys of <service>.config reach the service, large numbers unharmed, and may replace the chart's peers."""
    config = {"log_level": "debug", "max_message_bytes": 1 << 31, "store": "file:///elsewhere"}
    settings = read(component, rendered(**{name: {"config": config} for name in SERVICES}).settings(component))
    assert (settings.log_level, settings.max_message_bytes, settings.store) == ("debug", 1 << 31, "file:///elsewhere")


@pytest.mark.parametrize(
    ("component", "key"),
    [
        *((component, "listen") for component in SERVICES),
        *(("search", key) for key in ("health_port", "metrics_port", "drain_seconds")),
    ],
)
def test_config_may_not_break_the_pod(component: str, key: str) -> None:
    """What probes, Services and grace periods rely on is refused in config, by its name and with the way to set it."""
    words = refusal(**{component: {"config": {key: 1}}})
    assert f"{component}.config.{key}: the chart sets this key itself" in words


@pytest.mark.parametrize("query", KAFKA)
def test_the_broker_can_be_opened(query: str) -> None:
    """The URL is one that the Kafka adapter takes, and its files are those of the Secret."""
    chart = rendered(kafka={"brokers": ["one:9092", "two:9093"]} | KAFKA[query])
    for component in ("search", "rewriter", "trainer"):
        url = chart.settings(component)["broker"]
        assert url == f"kafka://one:9092,two:9093{query}"
        assert parse_kafka_url(url).bootstrap == ("one:9092", "two:9093")


def test_plain_passwords_need_encryption() -> None:
    """Values of which the broker's adapter would make an error are the adapter's to refuse: PLAIN without TLS."""
    url = rendered(kafka={"sasl": {"enabled": True, "mechanism": "PLAIN"}, "tls": {"enabled": True}}).settings(
        "search"
    )["broker"]
    assert parse_kafka_url(url).protocol == "SASL_SSL"


@pytest.mark.parametrize(
    ("values", "prefix", "ca_file"),
    [
        ({}, "", None),
        ({"prefix": "team/one", "ca": True}, "team/one/", Path("/etc/retrograde/s3/ca.crt")),
    ],
)
def test_the_store_can_be_opened(values: Object, prefix: str, ca_file: Path | None) -> None:
    """The URL is one that the S3 adapter takes, the same for all, and its files are those of the Secret."""
    chart = rendered(s3=values)
    urls = {chart.settings(component)["store"] for component in SERVICES if component != "verifier"}
    (url,) = urls
    settings = parse_s3_url(url)
    assert (settings.prefix, settings.ca_file) == (prefix, ca_file)
    assert settings.key_files == (Path("/etc/retrograde/s3/access_key"), Path("/etc/retrograde/s3/secret_key"))


@pytest.mark.parametrize("component", SERVICES)
def test_public_doors_have_limits_in_production(component: str) -> None:
    """Whoever opens a port to tokens there bounds the calls at once, and those a second of one caller."""
    settings = read(component, profile("production").settings(component))
    has_limits = None not in {settings.max_concurrent_calls, settings.max_calls_per_second}
    assert has_limits is (settings.public_port > 0)


def test_the_cache_fits_its_volume() -> None:
    """Checkpoints that are kept fill two thirds of the volume: another can come before an old one goes."""
    chart = rendered(model={"cacheGiB": 3})
    (cache,) = [volume for volume in chart.pod("inference")["spec"]["volumes"] if volume["name"] == "cache"]
    assert cache["emptyDir"] == {"sizeLimit": "3Gi"}
    assert read("inference", chart.settings("inference")).cache_bytes == 2 << 30


def test_the_verifier_knows_nobody() -> None:
    """Its settings have neither peer nor broker, store or collector, whatever the others have."""
    assert set(rendered(**ALL_ON).settings("verifier")) == {
        *("listen", "health_port", "metrics_port", "drain_seconds", "log_level", "tls"),
        *("num_workers", "num_late_workers"),
    }


@pytest.mark.parametrize("name", PROFILES)
def test_the_trainer_accepts_the_pods_of_jobs(name: str, tmp_path: Path) -> None:
    """The template that the chart mounts is one that the trainer would start jobs from."""
    chart = profile(name)
    file = tmp_path / "job-template.yaml"
    file.write_text(chart.one("ConfigMap", "trainer")["data"]["job-template.yaml"], encoding="utf-8")
    settings = chart.settings("trainer")
    assert read_template(file, settings["work_dir"]).instance == "r"
    assert settings["launch"]["pod_template"] == "/etc/retrograde/job-template.yaml"


def test_the_tests_problem_is_one() -> None:
    """Its task grades a right answer to it as right."""
    settings = read("test", profile("defaults").settings("test"))
    problem = Problem("probe", settings.task, settings.statement, settings.gold)
    answer = " 7 * 3 = 21, left: 7 21\n 21 + 7 = 28, the target is 28: yes, the answer is \\boxed{28}."
    assert load_task(settings.task).grade(problem, answer).verdict is Verdict.CORRECT
