"""Spans: what is done in a trace and how long it takes, told to a collector where `tracing.endpoint` names one.

    with spans.record("expand"):                  a span; those begun inside are its children, in other processes too
    with spans.work("tree", problem_id="p7"):     the same, and the ids are on every line logged inside

What is bound by `tracing` decides: its trace is the span's, if whoever began that trace wanted it recorded. Without an
endpoint nothing is recorded, OpenTelemetry is not imported and the headers that came go on as they are.

Spans are kept in memory and sent in batches by a thread of their own. While the collector is away up to 2,048 wait and
further ones are dropped; work neither waits for them nor fails. At the end they have `SHUTDOWN_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from retrograde.runtime import logs, tracing
from retrograde.runtime.tracing import Trace

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer

SHUTDOWN_SECONDS = 5.0
_SEND_EVERY_MILLISECONDS = 1_000
_MAX_WAITING, _MAX_BATCH = 2_048, 512
_EXPORT_SECONDS = 10


class TracingSettings(BaseModel):
    """Where spans go, and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/@\s]+:\d+)?$",
        description='http://HOST:PORT of a collector that takes OTLP over gRPC; "" records nothing.',
    )
    sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of the traces begun here that are recorded.")


class Kind(enum.Enum):
    """What a span is to the other end, as OpenTelemetry names it."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


@dataclass(frozen=True, slots=True)
class Span:
    """A span that has begun. What it causes carries `trace`."""

    trace: Trace
    _recorded: Any = None

    def note(self, name: str, value: str | float) -> None:
        """Adds what was not known when it began."""
        if self._recorded is not None:
            self._recorded.set_attribute(name, value)

    def end(self, failure: str = "") -> None:
        """Ends it; `failure` is a name and never a text that may hold what a collector should not read."""
        if self._recorded is None:
            return
        if failure:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only where spans are recorded

            self._recorded.set_status(Status(StatusCode.ERROR, failure))
        self._recorded.end()


About = Mapping[str, str | float]
"""What a span says of itself, by OpenTelemetry's names where it has one and by `retrograde.*` elsewhere."""

_NOTHING: About = MappingProxyType({})
_tracer: Tracer | None = None


def begin(
    name: str, trace: Trace, kind: Kind = Kind.INTERNAL, about: About = _NOTHING, links: Sequence[Trace] = ()
) -> Span:
    """A span under `trace`, for whoever cannot use `record`: it must be ended. `links` are further causes."""
    if _tracer is None or not trace.is_sampled:
        return Span(trace)
    from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415 - only where spans are recorded

    recorded = _tracer.start_span(
        name,
        context=_parent(trace),
        kind=SpanKind[kind.value],
        links=[Link(_context_of(each)) for each in links if each.is_sampled],
        attributes=about,
    )
    context = recorded.get_span_context()
    return Span(Trace(f"00-{context.trace_id:032x}-{context.span_id:016x}-01", trace.request_id), recorded)


@contextlib.contextmanager
def record(
    name: str, kind: Kind = Kind.INTERNAL, about: About = _NOTHING, links: Sequence[Trace] = ()
) -> Iterator[Span | None]:
    """A span around what is done inside; None where nothing is recorded."""
    if _tracer is None:
        yield None
        return
    span = begin(name, tracing.current(), kind, about, links)
    with tracing.bound(span.trace):
        try:
            yield span
        except BaseException as error:
            span.end(type(error).__name__)
            raise
        span.end()


@contextlib.contextmanager
def work(name: str, **ids: str) -> Iterator[None]:
    """`record`, and `ids` on every line logged inside."""
    with logs.bound(**ids), record(name, about={f"retrograde.{key}": value for key, value in ids.items()}):
        yield


def rpc(service: str, method: str) -> dict[str, str]:
    """What a call's span says of it, in the words of OpenTelemetry's conventions."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


@contextlib.contextmanager
def exported(service: str, settings: TracingSettings) -> Iterator[None]:
    """Spans of this process are recorded while inside, as those of `service`; not without an endpoint."""
    global _tracer  # noqa: PLW0603 - a process has one; whoever records is not told which
    if not settings.endpoint:
        yield
        return
    provider, exporter = _provider(service, settings.endpoint)
    _tracer = provider.get_tracer("retrograde")
    before = tracing.sample(settings.sample_ratio)
    try:
        yield
    finally:
        _tracer = None
        tracing.sample(before)
        closing = threading.Thread(target=provider.shutdown, name="spans-close", daemon=True)
        closing.start()
        closing.join(SHUTDOWN_SECONDS)
        if closing.is_alive():
            exporter.shutdown()  # a call in progress ends, and what is left is dropped
            closing.join(SHUTDOWN_SECONDS)


@contextlib.asynccontextmanager
async def exporting(service: str, settings: TracingSettings) -> AsyncIterator[None]:
    """`exported`, without holding up the event loop at the end."""
    spans = exported(service, settings)
    spans.__enter__()
    try:
        yield
    finally:
        await asyncio.to_thread(spans.__exit__, None, None, None)


def _provider(service: str, endpoint: str) -> tuple[Any, Any]:
    """OpenTelemetry's source of tracers, and what sends their spans."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415 - `begin` has decided

    about = {"service.namespace": "retrograde", "service.name": service, "service.instance.id": socket.gethostname()}
    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource(about), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http://"), timeout=_EXPORT_SECONDS)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=_MAX_WAITING,
            max_export_batch_size=_MAX_BATCH,
            schedule_delay_millis=_SEND_EVERY_MILLISECONDS,
            export_timeout_millis=1_000 * _EXPORT_SECONDS,
        )
    )
    return provider, exporter


def _parent(trace: Trace) -> Any:
    """OpenTelemetry's name for where a span belongs; nowhere for the first of a trace."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context  # noqa: PLC0415

    return Context() if trace.is_new else set_span_in_context(NonRecordingSpan(_context_of(trace)), Context())


def _context_of(trace: Trace) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415

    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), is_remote=True, trace_flags=TraceFlags(1))
