"""One small unary call through all that stands around it, against the same call of bare grpc.aio.

    rpc-unary            ids, admission, metrics, logs' context, errors; no spans
    rpc-unary-traced     the same, a span on either side of every call, told to a collector

Both servers are in one process and both clients in another, in plaintext, 32 calls at the same time. Nothing is done in
the calls, so what is compared is only what a call costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from benchmarks.bench import Arms, Bench, Direction
from retrograde.runtime import spans
from retrograde.runtime.spans import TracingSettings
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceStub
from retrograde.wire.channel import ServiceClient

_NUM_CALLS, _NUM_CALLERS = 4000, 32


class _Client(ServiceClient):
    """Calls as all typed clients do."""

    async def verify(self) -> None:
        await self._call(VerifierServiceStub(self._channel).Verify, pb.VerifyRequest())


class _Counting(TraceServiceServicer):
    """A collector that counts what it is told."""

    num_spans = 0

    def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - gRPC's
        """See the standard."""
        self.num_spans += sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
        return collector_pb2.ExportTraceServiceResponse()


async def _calls(call: Callable[[], Awaitable[object]]) -> float:
    """Calls per second."""

    async def caller() -> None:
        for _ in range(_NUM_CALLS // _NUM_CALLERS):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(_NUM_CALLERS)))
    return _NUM_CALLS / (time.perf_counter() - began)


@contextlib.contextmanager
def _collecting() -> Iterator[tuple[_Counting, str]]:
    collector = _Counting()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        add_TraceServiceServicer_to_server(collector, server)
        endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector, endpoint
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def _serving(endpoint: str) -> Iterator[list[str]]:
    """The addresses of both servers, which end when left."""
    command = [sys.executable, "-m", "benchmarks.unary_process", endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split() if process.stdout else []
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def _open(*, traced: bool) -> Iterator[Arms]:
    with contextlib.ExitStack() as stack:
        collector, endpoint = stack.enter_context(_collecting())
        ours, bare = stack.enter_context(_serving(endpoint if traced else ""))
        runner = stack.enter_context(asyncio.Runner())
        stack.enter_context(spans.exported("bench", TracingSettings(endpoint=endpoint if traced else "")))

        async def connect() -> tuple[_Client, grpc.aio.Channel]:
            return _Client(ours), grpc.aio.insecure_channel(bare)

        client, channel = runner.run(connect())
        stub = VerifierServiceStub(channel)
        yield Arms(
            lambda: runner.run(_calls(client.verify)),
            lambda: runner.run(_calls(lambda: stub.Verify(pb.VerifyRequest()))),
            note=lambda: f"{_NUM_CALLERS} callers, {_NUM_CALLS} calls an arm, {collector.num_spans} spans received",
        )
        runner.run(client.__aexit__(None, None, None))
        runner.run(channel.close(None))


def _bench(name: str, *, traced: bool) -> Bench:
    return Bench(name, "calls/s", 0.80, Direction.UP, functools.partial(_open, traced=traced), num_repetitions=7)


BENCHES = (_bench("rpc-unary", traced=False), _bench("rpc-unary-traced", traced=True))
