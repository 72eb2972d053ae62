"""Spans reach a collector, and cost nothing where there is none."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from retrograde.cli.topology import free_ports
from retrograde.runtime import spans, tracing
from retrograde.runtime.spans import Kind, TracingSettings
from retrograde.runtime.tracing import Trace
from tests.collectors import collecting

ROOT = Path(__file__).resolve().parents[3]
TRACE = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "r-1")
UNWANTED = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "r-2")


def fail_inside() -> None:
    """Two spans, the outer one with an end that is none."""
    with spans.record("outer", Kind.CONSUMER, {"retrograde.node": 3}):
        with spans.record("inner") as span:
            assert span is not None
            span.note("late", 1.5)
        raise ValueError("secret")


async def test_a_span_is_below_its_cause_and_says_how_it_ended() -> None:
    """Parent, kind, attributes and the name of the failure arrive; its text does not."""
    with collecting() as collector:
        async with spans.exporting("search", TracingSettings(endpoint=collector.endpoint)):
            with tracing.bound(TRACE), pytest.raises(ValueError, match="secret"):
                fail_inside()
    inner, outer = sorted(collector.spans, key=lambda span: span.name)
    assert (outer.service, outer.trace_id, outer.parent_id) == ("search", TRACE.trace_id, TRACE.span_id)
    assert (outer.kind, outer.attributes, outer.failure) == (5, {"retrograde.node": 3}, "ValueError")
    assert (inner.parent_id, inner.kind, inner.attributes, inner.failure) == (outer.span_id, 1, {"late": 1.5}, "")


async def test_what_is_caused_inside_carries_the_span() -> None:
    """Headers name the span as the parent and keep the request id; outside they are as before."""
    with collecting() as collector:
        async with spans.exporting("search", TracingSettings(endpoint=collector.endpoint)):
            with tracing.bound(TRACE):
                with spans.record("inside"):
                    headers = tracing.carried()
                assert tracing.carried() == TRACE.headers
    (span,) = collector.spans
    assert headers == {"traceparent": f"00-{TRACE.trace_id}-{span.span_id}-01", "x-request-id": "r-1"}


@pytest.mark.parametrize(("ratio", "recorded"), [(0.0, {"wanted"}), (1.0, {"wanted", "new"})])
async def test_whoever_begins_a_trace_decides(ratio: float, recorded: set[str]) -> None:
    """The ratio is about traces begun here; one that came is recorded if its flag says so."""
    with collecting() as collector:
        async with spans.exporting("search", TracingSettings(endpoint=collector.endpoint, sample_ratio=ratio)):
            for name, trace in (("wanted", TRACE), ("unwanted", UNWANTED), ("new", tracing.trace_of({}))):
                with tracing.bound(trace), spans.record(name):
                    assert tracing.current().request_id == trace.request_id
    assert {span.name for span in collector.spans} == recorded
    assert [span.parent_id for span in collector.spans if span.name == "new"] == [""] * ("new" in recorded)


async def test_links_name_the_other_causes() -> None:
    """A span with several causes is in the trace of the first and names the others."""
    with collecting() as collector:
        async with spans.exporting("search", TracingSettings(endpoint=collector.endpoint)):
            other = Trace(f"00-{'b' * 32}-{'c' * 16}-01", "r")
            with tracing.bound(TRACE), spans.record("batch", links=[other, UNWANTED]):
                pass
    (span,) = collector.spans
    assert (span.trace_id, span.linked) == (TRACE.trace_id, ("b" * 32,))


async def test_an_absent_collector_holds_nobody_up() -> None:
    """Ten times as many spans as are kept take moments; the end waits for a bounded time and leaves no thread."""
    (port,) = free_ports(1)
    began = time.monotonic()
    async with spans.exporting("search", TracingSettings(endpoint=f"http://127.0.0.1:{port}")):
        with tracing.bound(TRACE):
            for _ in range(20_000):
                with spans.record("work"):
                    pass
    assert time.monotonic() - began < 30 + 10 * spans.SHUTDOWN_SECONDS
    assert [thread.name for thread in threading.enumerate() if "Otel" in thread.name or "spans" in thread.name] == []


def test_without_an_endpoint_nothing_is_imported() -> None:
    """A service whose settings name no collector never loads OpenTelemetry."""
    program = (
        "import asyncio, sys\n"
        "import services.search.__main__\n"
        "from retrograde.runtime import spans, tracing\n"
        "async def main():\n"
        "    async with spans.exporting('search', spans.TracingSettings()):\n"
        "        with spans.record('work') as span, spans.work('tree', problem_id='p'):\n"
        "            assert span is None\n"
        "        spans.begin('call', tracing.current()).end()\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"}, check=True)


@pytest.mark.parametrize("endpoint", ["collector:4317", "http://collector", "grpc://a:1", "http://u:p@a:1"])
def test_an_endpoint_has_a_scheme_and_a_port(endpoint: str) -> None:
    """Anything but http[s]://HOST:PORT is refused before the service starts; credentials have no place in it."""
    with pytest.raises(ValidationError, match="endpoint"):
        TracingSettings(endpoint=endpoint)
