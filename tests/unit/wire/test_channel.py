"""Clients raise the service's own error class, and wait out a service that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from retrograde.core.problem import Problem, Verdict
from retrograde.runtime import tracing
from retrograde.runtime.errors import (
    NoAnswerError,
    NotFoundError,
    OverloadedError,
    RetrogradeError,
    UnavailableError,
)
from retrograde.runtime.interceptors import CallsInFlight, ServerInterceptor
from retrograde.runtime.tracing import Trace
from retrograde.v1 import verdict_pb2
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server
from retrograde.wire.clients import VerifierClient

PROBLEM = Problem("p", "t", "s", "1")


class Scripted(VerifierServiceServicer):
    """Answers each call with the next item of a script: a status to abort with, an error to raise, or a verdict."""

    def __init__(self, *script: grpc.StatusCode | RetrogradeError | verdict_pb2.Verdict.ValueType) -> None:
        self.script = list(script)
        self.headers: list[dict[str, str | bytes]] = []

    async def Verify(self, request: pb.VerifyRequest, context: grpc.aio.ServicerContext[Any, Any]) -> pb.VerifyResponse:
        self.headers.append(dict(context.invocation_metadata() or ()))
        item = self.script.pop(0)
        if isinstance(item, grpc.StatusCode):
            await context.abort(item, "scripted")
        if isinstance(item, RetrogradeError):
            raise item
        return pb.VerifyResponse(grades=[verdict_pb2.Grade(verdict=item) for _ in request.items])


@asynccontextmanager
async def serving(servicer: VerifierServiceServicer) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=(ServerInterceptor(CallsInFlight()),))
    add_VerifierServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.mark.parametrize("away", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_a_service_that_is_away_is_asked_again(away: grpc.StatusCode) -> None:
    """A service that was away twice, or ended the call as it left, still answers the call."""
    async with serving(Scripted(away, away, verdict_pb2.VERDICT_CORRECT)) as address, VerifierClient(address) as client:
        assert [grade.verdict for grade in await client.verify([(PROBLEM, "1")])] == [Verdict.CORRECT]


async def test_a_call_carries_the_ids_of_its_cause() -> None:
    """The ids bound where the call is made arrive with it, at each attempt."""
    script = Scripted(grpc.StatusCode.UNAVAILABLE, verdict_pb2.VERDICT_CORRECT)
    trace = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "r-1")
    async with serving(script) as address, VerifierClient(address) as client:
        with tracing.bound(trace):
            await client.verify([(PROBLEM, "1")])
    assert [trace.headers.items() <= headers.items() for headers in script.headers] == [True, True]


async def test_an_error_is_not_retried_and_keeps_its_class() -> None:
    """NOT_FOUND is raised as NotFoundError at the first answer."""
    script = Scripted(grpc.StatusCode.NOT_FOUND, verdict_pb2.VERDICT_CORRECT)
    async with serving(script) as address, VerifierClient(address) as client:
        with pytest.raises(NotFoundError, match="scripted"):
            await client.verify([(PROBLEM, "1")])
    assert script.script == [verdict_pb2.VERDICT_CORRECT]


async def test_a_service_that_is_full_is_asked_again() -> None:
    """It says when, and the call is answered then."""
    script = Scripted(OverloadedError("the queue is full"), verdict_pb2.VERDICT_CORRECT)
    async with serving(script) as address, VerifierClient(address) as client:
        assert [grade.verdict for grade in await client.verify([(PROBLEM, "1")])] == [Verdict.CORRECT]


async def test_a_service_that_stays_full_is_told() -> None:
    """Where it asks for a longer pause than patience is left, OverloadedError is raised."""
    script = Scripted(OverloadedError("the queue is full"), verdict_pb2.VERDICT_CORRECT)
    async with serving(script) as address, VerifierClient(address, patience_seconds=0.1) as client:
        with pytest.raises(OverloadedError, match="the queue is full"):
            await client.verify([(PROBLEM, "1")])


async def test_patience_is_bounded() -> None:
    """A service that stays away raises NoAnswerError once patience is over."""
    async with VerifierClient("127.0.0.1:9", patience_seconds=0.3) as client:
        with pytest.raises(NoAnswerError):
            await asyncio.wait_for(client.verify([(PROBLEM, "1")]), 30)


async def test_a_refusal_is_not_taken_for_an_absence() -> None:
    """UNAVAILABLE that the service says itself is no NoAnswerError, which what a broken call ends with is."""
    script = Scripted(UnavailableError("not served"), grpc.StatusCode.UNAVAILABLE)
    async with serving(script) as address, VerifierClient(address, patience_seconds=0) as client:
        ended = [await asyncio.gather(client.verify([(PROBLEM, "1")]), return_exceptions=True) for _ in range(2)]
    assert [type(error) for (error,) in ended] == [UnavailableError, NoAnswerError]
