"""Alerts fire when they should and not before, and whatever alerts and dashboards ask for is counted somewhere."""

from __future__ import annotations

import functools
import importlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml
from chart_render import ALL_ON, CHART, ROOT, SERVICES, rendered

from tests.servers import need
from tools.chart_tools import tool

METRICS = (
    "retrograde.runtime.interceptors",
    "retrograde.runtime.worker_metrics",
    "services.inference.metrics",
    "services.rewriter.metrics",
    "services.rollouts.metrics",
    "services.search.metrics",
    "services.trainer.jobs",
    "services.trainer.runs",
    "services.trainer.stages.job_gauges",
    "services.verifier.metrics",
)
RULES = CHART / "monitoring/alerts.yaml"
DASHBOARDS = sorted((CHART / "monitoring").glob("*.json"))
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
EXPRESSIONS = [(name, rule["expr"]) for name, rule in ALERTS.items()] + [
    (f"{path.stem}: {panel['title']}", target["expr"])
    for path in DASHBOARDS
    for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
    for target in panel.get("targets", ())
]
GIVEN_BY_PROMETHEUS = {"up": {"job", "namespace", "pod", "component"}}
OF_TARGETS = {"job", "namespace", "pod", "component", "le"}

C, N = 'namespace="n",component="search"', 'namespace="n"'
FIRES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "RetrogradeTargetDown": (
        {f'up{{job="retrograde",{C}}}': "0x600"},
        {f'up{{job="retrograde",{C}}}': "1x600", 'up{job="other"}': "0x600"},
    ),
    "RetrogradeCallsFail": (
        {
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="INTERNAL"}}': "0+2x600",
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="OK"}}': "0+98x600",
        },
        {
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="NOT_FOUND"}}': "0+50x600",
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="OK"}}': "0+50x600",
        },
    ),
    "RetrogradeCallsRefused": (
        {
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="RESOURCE_EXHAUSTED"}}': "0+6x600",
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="OK"}}': "0+94x600",
        },
        {
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="RESOURCE_EXHAUSTED"}}': "0+4x600",
            f'grpc_server_handled_total{{job="retrograde",{C},grpc_code="OK"}}': "0+96x600",
        },
    ),
    "RetrogradeSearchHasNoWorkers": (
        {
            f'retrograde_worker_lag_messages{{{N},component="trainer",topic="retrograde.problems.v1"}}': "5x600",
            f'up{{job="retrograde",{N},component="rewriter"}}': "1x600",
        },
        {
            f'retrograde_worker_lag_messages{{{N},component="trainer",topic="retrograde.problems.v1"}}': "0 5x9 0x600",
            f'up{{job="retrograde",{N},component="rewriter"}}': "1x600",
        },
    ),
    "RetrogradeRewriteHasNoWorkers": (
        {
            f'retrograde_worker_lag_messages{{{N},component="trainer",topic="retrograde.trees.v1"}}': "5x600",
            f'up{{job="retrograde",{N},component="search"}}': "1x600",
        },
        {
            f'retrograde_worker_lag_messages{{{N},component="trainer",topic="retrograde.trees.v1"}}': "0 5x9 0x600",
            f'up{{job="retrograde",{N},component="search"}}': "1x600",
        },
    ),
    "RetrogradeSearchStandsStill": (
        {
            f'retrograde_worker_lag_messages{{{N},topic="retrograde.problems.v1"}}': "5x600",
            f'retrograde_search_calls_total{{{N},source="model"}}': "7x600",
        },
        {
            f'retrograde_worker_lag_messages{{{N},topic="retrograde.problems.v1"}}': "5x600",
            f'retrograde_search_calls_total{{{N},source="model"}}': "0+1x600",
            f'up{{job="retrograde",{C}}}': "1x600",
        },
    ),
    "RetrogradeRewriteStandsStill": (
        {f'retrograde_worker_lag_messages{{{N},topic="retrograde.trees.v1"}}': "5x600"},
        {
            f'retrograde_worker_lag_messages{{{N},topic="retrograde.trees.v1"}}': "5x600",
            f'retrograde_worker_messages_total{{{N},topic="retrograde.trees.v1",outcome="handled"}}': "0+1x600",
            f'up{{job="retrograde",{N},component="rewriter"}}': "1x600",
        },
    ),
    "RetrogradeDeadLetters": (
        {f'retrograde_worker_dead_letters{{{N},topic="t"}}': "1x600"},
        {f'retrograde_worker_dead_letters{{{N},topic="t"}}': "0x600"},
    ),
    "RetrogradeWorkTriedAgain": (
        {
            f'retrograde_worker_retries_total{{{N},topic="t"}}': "0+3x600",
            f'retrograde_worker_messages_total{{{N},topic="t",outcome="handled"}}': "0+10x600",
        },
        {
            f'retrograde_worker_retries_total{{{N},topic="t"}}': "0+1x600",
            f'retrograde_worker_messages_total{{{N},topic="t",outcome="handled"}}': "0+10x600",
        },
    ),
    "RetrogradeTreesTakenOver": (
        {f"retrograde_search_fenced_total{{{N}}}": "0+1x600"},
        {f"retrograde_search_fenced_total{{{N}}}": "0 1 2 3 4 5 5x600"},
    ),
    "RetrogradeStoreAway": (
        {f"retrograde_search_store_waits_total{{{N}}}": "0+2x600"},
        {f"retrograde_search_store_waits_total{{{N}}}": "0 3 6 6x600"},
    ),
    "RetrogradeGradingTimesOut": (
        {
            f'retrograde_verifier_items_total{{{N},verdict="timeout"}}': "0+6x600",
            f'retrograde_verifier_items_total{{{N},verdict="correct"}}': "0+94x600",
        },
        {
            f'retrograde_verifier_items_total{{{N},verdict="timeout"}}': "0+4x600",
            f'retrograde_verifier_items_total{{{N},verdict="incorrect"}}': "0+96x600",
        },
    ),
    "RetrogradeGradingErrs": (
        {
            f'retrograde_verifier_items_total{{{N},verdict="error"}}': "0+1x600",
            f'retrograde_verifier_items_total{{{N},verdict="correct"}}': "0+99x600",
        },
        {
            f'retrograde_verifier_items_total{{{N},verdict="unparsable"}}': "0+50x600",
            f'retrograde_verifier_items_total{{{N},verdict="correct"}}': "0+50x600",
        },
    ),
    "RetrogradeGradingBehind": (
        {
            f'retrograde_verifier_waiting_items{{{N},pod="a"}}': "30000x600",
            f'retrograde_verifier_waiting_items{{{N},pod="b"}}': "30000x600",
        },
        {f'retrograde_verifier_waiting_items{{{N},pod="a"}}': "30000x600"},
    ),
    "RetrogradeGradersDisagree": (
        {
            f'retrograde_verifier_shadow_total{{{N},outcome="disagree"}}': "0+3x600",
            f'retrograde_verifier_shadow_total{{{N},outcome="agree"}}': "0+97x600",
        },
        {
            f'retrograde_verifier_shadow_total{{{N},outcome="disagree"}}': "0+1x600",
            f'retrograde_verifier_shadow_total{{{N},outcome="agree"}}': "0+99x600",
            f'retrograde_verifier_shadow_total{{{N},outcome="unavailable"}}': "0+99x600",
        },
    ),
    "RetrogradeSamplesUngraded": (
        {
            f"retrograde_rollouts_ungraded_samples_total{{{N}}}": "0+3x600",
            f'retrograde_rollouts_samples_total{{{N},verdict="correct"}}': "0+100x600",
        },
        {
            f"retrograde_rollouts_ungraded_samples_total{{{N}}}": "0+1x600",
            f'retrograde_rollouts_samples_total{{{N},verdict="correct"}}': "0+100x600",
        },
    ),
    "RetrogradeInferenceRefuses": (
        {f"retrograde_inference_refused_requests_total{{{N}}}": "0+1x600"},
        {f"retrograde_inference_refused_requests_total{{{N}}}": "9x600"},
    ),
    "RetrogradePoliciesDiffer": (
        {
            f'retrograde_inference_policy_version_info{{{N},pod="a"}}': "3x600",
            f'retrograde_inference_policy_version_info{{{N},pod="b"}}': "4x600",
        },
        {
            f'retrograde_inference_policy_version_info{{{N},pod="a"}}': "0+1x600",
            f'retrograde_inference_policy_version_info{{{N},pod="b"}}': "0+1x600",
        },
    ),
    "RetrogradeWeightSwapsSlow": (
        {
            f'retrograde_inference_weight_swap_seconds_bucket{{{N},phase="stop",le="60"}}': "0x600",
            f'retrograde_inference_weight_swap_seconds_bucket{{{N},phase="stop",le="120"}}': "0+1x600",
            f'retrograde_inference_weight_swap_seconds_bucket{{{N},phase="stop",le="+Inf"}}': "0+1x600",
        },
        {
            f'retrograde_inference_weight_swap_seconds_bucket{{{N},phase="stop",le="60"}}': "0+1x600",
            f'retrograde_inference_weight_swap_seconds_bucket{{{N},phase="stop",le="+Inf"}}': "0+1x600",
            f'retrograde_inference_weight_swap_seconds_bucket{{{N},phase="drain",le="+Inf"}}': "0+1x600",
        },
    ),
    "RetrogradeTrainingStandsStill": (
        {f'retrograde_trainer_job_step{{{N},run="r",exported_job="astro_rl"}}': "_x30 0x600"},
        {
            f'retrograde_trainer_job_step{{{N},run="r",exported_job="astro_rl"}}': "0+1x600",
            f'retrograde_trainer_job_step{{{N},run="young",exported_job="astro_rl"}}': "_x70 0x600",
        },
    ),
    "RetrogradeRunFails": (
        {f'retrograde_trainer_runs_total{{{N},outcome="failed"}}': "_x80 0x32 1x600"},
        {
            f'retrograde_trainer_runs_total{{{N},outcome="failed"}}': "_x80 1x600",
            f'retrograde_trainer_runs_total{{{N},outcome="succeeded"}}': "0+1x600",
            f'retrograde_trainer_runs_total{{{N},outcome="cancelled"}}': "0+1x600",
        },
    ),
    "RetrogradeTrainingFails": (
        {f'retrograde_trainer_job_attempts_total{{{N},outcome="failed"}}': "_x80 0x10 1x10 2x600"},
        {
            f'retrograde_trainer_job_attempts_total{{{N},outcome="failed"}}': "_x80 0x10 1x600",
            f'retrograde_trainer_job_attempts_total{{{N},outcome="succeeded"}}': "0+1x600",
        },
    ),
    "RetrogradeTrainingWaits": (
        {
            f'retrograde_trainer_job_wait_seconds{{{N},run="r",exported_job="astro_rl"}}': "6x600",
            f'retrograde_trainer_job_step_seconds{{{N},run="r",exported_job="astro_rl"}}': "10x600",
        },
        {
            f'retrograde_trainer_job_wait_seconds{{{N},run="r",exported_job="astro_rl"}}': "4x600",
            f'retrograde_trainer_job_step_seconds{{{N},run="r",exported_job="astro_rl"}}': "10x600",
        },
    ),
}
"""Of each alert: samples a minute that make it fire, and others that do not."""
MINUTES_UNTIL = 120


def test_every_alert_is_played() -> None:
    """There are at least eight, and each has a case."""
    assert set(FIRES) == set(ALERTS)
    assert len(ALERTS) >= 8


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_for_its_reason_alone(alert: str, tmp_path: Path) -> None:
    """Played by promtool: once it has lasted it fires; what looks alike and is in order fires nothing at all."""
    fires, quiet = FIRES[alert]
    firing = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
    play(RULES, [played(fires, firing, 1), played(quiet, "ALERTS", 0)], tmp_path)


def play(rules: Path, tests: list[dict[str, Any]], folder: Path) -> None:
    """Has promtool play the rules; its words are the failure."""
    case = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}
    file = folder / "case.yaml"
    file.write_text(yaml.safe_dump(case), encoding="utf-8")
    need(lambda: tool("promtool"))
    command = [str(tool("promtool")), "test", "rules", str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def played(series: dict[str, str], expression: str, count: int) -> dict[str, Any]:
    """Whether, after two hours of these samples, `expression` has that many alerts."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count({expression}) or vector(0)",
                "eval_time": f"{MINUTES_UNTIL}m",
                "exp_samples": [{"labels": "{}", "value": count}],
            }
        ],
    }


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do(alert: str) -> None:
    """It has a severity, a line of what is wrong, a few of what to look at, and a row in docs/operations.md."""
    rule = ALERTS[alert]
    assert f"\n| {alert} |" in (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert len(rule["annotations"]["summary"]) > 10
    assert len(rule["annotations"]["description"]) > 40


@functools.cache
def counted() -> dict[str, set[str]]:
    """Labels by the names of all samples that the services' own metric objects can give."""
    for module in METRICS:
        importlib.import_module(module)
    collectors = prometheus_client.REGISTRY._names_to_collectors
    return {name: labels_of(collector) for name, collector in collectors.items()} | GIVEN_BY_PROMETHEUS


def labels_of(collector: Any) -> set[str]:
    """A target's own `job` comes before ours, which Prometheus then calls exported_job."""
    families = [collector] if hasattr(collector, "_labelnames") else collector.collect()
    return {f"exported_{label}" if label == "job" else label for family in families for label in family._labelnames}


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS)
def test_what_is_asked_for_is_counted(place: str, expression: str) -> None:
    """Each name in an alert or a panel is one that a service counts, and has the labels it is asked by."""
    known = counted()
    names = set(re.findall(r"\b(?:up|(?:retrograde|grpc_server)_\w+)\b", expression))
    assert names, f"{place} asks for nothing"
    for name in names:
        assert name in known, f"{place}: nobody counts {name}"
        asked = {
            label
            for matchers in re.findall(rf"\b{name}\{{([^}}]*)\}}", expression)
            for label in re.findall(r"(\w+)\s*=", matchers)
        }
        grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
        assert asked | grouped <= known[name] | OF_TARGETS, f"{place}: {name} has {sorted(known[name])}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path) -> None:
    """It has a name of its own, panels with numbers of their own that do not overlap, and reaches Grafana unchanged."""
    board = json.loads(path.read_text(encoding="utf-8"))
    assert board["uid"] == path.stem
    ids = [panel["id"] for panel in board["panels"]]
    assert ids == sorted(set(ids))
    places = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    config = rendered(**ALL_ON).one("ConfigMap", "dashboards")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(config["data"][path.name]) == board


def test_rules_reach_prometheus_unchanged() -> None:
    """What promtool plays is what the PrometheusRule holds: Helm leaves its placeholders alone."""
    rule = rendered(**ALL_ON).one("PrometheusRule", "alerts")
    assert rule["spec"]["groups"][:-1] == yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]


@pytest.mark.parametrize(("component", "work"), [("search", "Search"), ("rewriter", "Rewrite")])
def test_work_of_workers_elsewhere_alerts_nobody(component: str, work: str) -> None:
    """A release without search or rewriter has neither alert that misses their series here, and all others."""
    rule = rendered(monitoring={"enabled": True}, **{component: {"enabled": False}}).one("PrometheusRule", "alerts")
    alerts = {each["alert"] for group in rule["spec"]["groups"][:-1] for each in group["rules"]}
    assert set(ALERTS) - alerts == {f"Retrograde{work}HasNoWorkers", f"Retrograde{work}StandsStill"}


def test_a_trainer_that_stands_by_is_a_target() -> None:
    """Its pod is asked itself, since the Service has the leader alone: a stand-by that crashes is seen."""
    several = rendered(monitoring={"enabled": True}, trainer={"replicas": 2})
    selector = several.one("PodMonitor", "trainer")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= several.pod("trainer")["metadata"]["labels"].items()
    assert [each["metadata"]["name"] for each in several.of("ServiceMonitor", "trainer")] == []


def missing_rules(**values: Any) -> dict[str, Any]:
    """The rendered group for components without pods."""
    group: dict[str, Any] = rendered(monitoring={"enabled": True}, **values).one("PrometheusRule", "alerts")["spec"][
        "groups"
    ][-1]
    return group


def test_a_component_without_pods_fires(tmp_path: Path) -> None:
    """Played by promtool: where one of six has no target at all, not even one that is down, its alert fires alone."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [missing_rules()]}), encoding="utf-8")
    there = {f'up{{job="retrograde",{N},component="{name}"}}': "1x600" for name in SERVICES if name != "search"}
    elsewhere = {f'up{{job="retrograde",namespace="other",{C.rpartition(",")[2]}}}': "1x600"}
    firing = 'ALERTS{alertname="RetrogradeComponentMissing",alertstate="firing",component="search"}'
    whole = there | {f'up{{job="retrograde",{C}}}': "0x600"}
    tests = [played(there | elsewhere, firing, 1), played(there, "ALERTS", 1), played(whole, "ALERTS", 0)]
    play(rules, tests, tmp_path)


@pytest.mark.parametrize(
    ("values", "missed"),
    [
        ({}, set(SERVICES)),
        ({"rewriter": {"enabled": False}, "rollouts": {"replicas": 0}}, set(SERVICES) - {"rewriter", "rollouts"}),
        ({"autoscaling": {"mode": "keda", "search": {"minReplicas": 0}}}, set(SERVICES) - {"search"}),
        ({"autoscaling": {"mode": "hpa", "search": {"minReplicas": 0}}}, set(SERVICES)),
        ({name: {"enabled": False} for name in SERVICES}, set()),
    ],
)
def test_only_components_that_values_want_are_missed(values: dict[str, Any], missed: set[str]) -> None:
    """Those that are off or may have no pod, as workers without work, have no such alert."""
    expressions = [rule["expr"] for rule in missing_rules(**values)["rules"]]
    assert {name for name in SERVICES if any(f'component="{name}"' in each for each in expressions)} == missed


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
@pytest.mark.parametrize("component", SERVICES)
def test_metrics_are_read_from_every_service(component: str, kind: str, endpoints: str) -> None:
    """By either kind of monitor: targets are the component's, at the port that its pods and Service name so."""
    chart = rendered(monitoring={"enabled": True, "monitor": kind, "labels": {"release": "prometheus"}})
    monitor = chart.one(kind, component)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == component
    (endpoint,) = monitor["spec"][endpoints]
    assert endpoint["port"] == "metrics"
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/name"
    assert endpoint["relabelings"][0]["targetLabel"] == "component"
