"""One problem is one trace, over the processes of four services, a broker and a collector."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from retrograde.core.settings import LinearizeSettings, RewriteSettings
from retrograde.runtime.tracing import Trace
from retrograde.wire.topics import PROBLEMS_TOPIC
from tests.collectors import Collector, Received, collecting
from tests.unit.search.search_fakes import RECIPE, Run, problems, queued

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120
TRACE = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "r-1")
MODULES = {"inference": "tests.integration.traces.scripted_policy_process"}


class Started:
    """A service's process, and its log."""

    def __init__(self, name: str, folder: Path, settings: dict[str, object]) -> None:
        self._log = folder / f"{name}.log"
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", MODULES.get(name, f"services.{name}"), "--config", str(config)]
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    @property
    def lines(self) -> list[dict[str, str]]:
        """What it has logged."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    @property
    def address(self) -> str:
        """Of its server, once it is ready."""
        until(lambda: any(line["event"] == "ready" for line in self.lines) or self.process.poll() is not None)
        return next(line["address"] for line in self.lines if line["event"] == "ready")

    def stop(self) -> None:
        """As a node does, and waits."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.lines


def until(condition: Callable[[], bool]) -> None:
    """Waits until it is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def services(folder: Path, endpoint: str) -> Iterator[dict[str, Started]]:
    """The four services, their spans going to `endpoint`; those that still run at the end are killed."""
    shared: dict[str, object] = {"tracing": {"endpoint": endpoint}, "log_level": "debug"}
    with ExitStack() as stack:
        found: dict[str, Started] = {}

        def start(name: str, **more: object) -> str:
            found[name] = Started(name, folder, shared | more)
            stack.callback(found[name].process.wait)
            stack.callback(found[name].process.kill)
            return found[name].address

        peers = {"inference": start("inference"), "verifier": start("verifier", num_workers=1)}
        stores = {"broker": f"sqlite:///{folder}/broker.db", "store": f"file://{folder}/store"}
        for name in ("search", "rewriter"):
            start(name, **peers, **stores)
        yield found


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, dict[str, Started]]]:
    """What was told of one problem, from its message to its solutions, and who told it."""
    folder = tmp_path_factory.mktemp("traces")
    run, (problem,) = Run(folder), problems(1)
    linearize = LinearizeSettings(num_wrong=(1,), self_evaluation_samples=2)
    recipe = RECIPE.model_copy(update={"linearize": linearize, "rewrite": RewriteSettings(method="template")})
    run.store.put("runs/r/recipe.json", recipe.model_dump_json().encode())
    with collecting() as collector, services(folder, collector.endpoint) as started:
        run.broker.publish(PROBLEMS_TOPIC, f"r/{problem.id}", queued(problem), TRACE.headers)
        until(lambda: run.store.exists(f"runs/r/solutions/{problem.id}.pb"))
        until(lambda: run.broker.lag("retrograde.trees.v1", "rewriter") == 0)
        run.broker.close()
        for service in started.values():
            service.stop()
        yield collector, started


def of_problem(collector: Collector) -> list[Received]:
    """The spans of the problem's trace."""
    return [span for span in collector.spans if span.trace_id == TRACE.trace_id]


def test_one_problem_is_one_tree_of_spans(traced: tuple[Collector, dict[str, Started]]) -> None:
    """Every span of the four services is below the message that brought the problem, and none is told twice."""
    spans = of_problem(traced[0])
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans)
    assert {span.service for span in spans} == {"inference", "verifier", "search", "rewriter"}
    roots = [span for span in spans if span.parent_id not in by_id]
    assert [(span.service, span.name) for span in roots] == [("search", "process retrograde.problems.v1")]
    assert roots[0].parent_id == TRACE.span_id


def test_spans_say_who_caused_whom(traced: tuple[Collector, dict[str, Started]]) -> None:
    """Calls lead from a step of the search to the peer that answers, and the tree's message to the rewriter."""
    spans = of_problem(traced[0])
    by_id = {span.span_id: span for span in spans}
    edges = {
        (by_id[span.parent_id].service, by_id[span.parent_id].name, span.service, span.name)
        for span in spans
        if span.parent_id in by_id
    }
    problems_topic, trees, solutions = (f"retrograde.{topic}.v1" for topic in ("problems", "trees", "solutions"))
    generate, verify = "retrograde.v1.InferenceService/Generate", "retrograde.v1.VerifierService/Verify"
    assert edges >= {
        ("search", f"process {problems_topic}", "search", "tree"),
        ("search", "tree", "search", "expand"),
        ("search", "expand", "search", generate),
        ("search", generate, "inference", generate),
        ("search", "grade", "search", verify),
        ("search", verify, "verifier", verify),
        ("search", f"process {problems_topic}", "search", f"publish {trees}"),
        ("search", f"publish {trees}", "rewriter", f"process {trees}"),
        ("rewriter", f"process {trees}", "rewriter", "solutions"),
        ("rewriter", "solutions", "rewriter", "judge"),
        ("rewriter", "solutions", "rewriter", "linearize"),
        ("rewriter", "solutions", "rewriter", "tell"),
        ("rewriter", f"process {trees}", "rewriter", f"publish {solutions}"),
    }


def test_lines_of_a_log_name_their_span(traced: tuple[Collector, dict[str, Started]]) -> None:
    """What is logged about a problem has its ids, and the trace and span in which it happened."""
    collector, started = traced
    (line,) = [line for line in started["search"].lines if line["event"] == "tree stored"]
    (problem,) = problems(1)
    assert (line["run_id"], line["problem_id"], line["request_id"]) == ("r", problem.id, "r-1")
    (span,) = [span for span in of_problem(collector) if span.span_id == line["span_id"]]
    assert (span.name, span.trace_id) == ("tree", line["trace_id"])
    assert span.attributes == {"retrograde.run_id": "r", "retrograde.problem_id": problem.id}
