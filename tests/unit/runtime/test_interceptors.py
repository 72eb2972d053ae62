"""What a client gets, and what is logged and counted, when a servicer answers or fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client import REGISTRY

from retrograde.runtime import logs, tracing
from retrograde.runtime.errors import RetrogradeError, UnavailableError
from retrograde.runtime.interceptors import DRAINING, CallsInFlight, ServerInterceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Context = grpc.aio.ServicerContext[bytes, bytes]

SERVICE = "test.Oven"


class Oven:
    """Methods that end in every way; a request's bytes say how."""

    async def bake(self, request: bytes, context: Context) -> bytes:
        if request == b"abort":
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too hot")
        return await self._end(request)

    async def watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"first"
        while request == b"flood":
            yield bytes(1 << 20)
        yield await self.bake(request, context)

    async def _end(self, request: bytes) -> bytes:
        if request == b"secret":
            raise KeyError("password is hunter2")
        if request == b"trace":
            return json.dumps(tracing.carried()).encode()
        if request == b"slow":
            await asyncio.sleep(30)
        for error in RetrogradeError.__subclasses__():
            if request == error.__name__.encode():
                raise error("degrees: 301; write at most 300")
        return request


@contextlib.asynccontextmanager
async def serving(calls: CallsInFlight) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to an Oven behind the interceptor."""
    oven = Oven()
    methods = {
        "Bake": grpc.unary_unary_rpc_method_handler(oven.bake),
        "Watch": grpc.unary_stream_rpc_method_handler(oven.watch),
    }
    server = grpc.aio.server(interceptors=(ServerInterceptor(calls),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


def bake(channel: grpc.aio.Channel, request: bytes, **call: Any) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    """A unary call."""
    return channel.unary_unary(f"/{SERVICE}/Bake", None, None)(request, **call)


def watch(channel: grpc.aio.Channel, request: bytes, **call: Any) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
    """A call answered by a stream."""
    return channel.unary_stream(f"/{SERVICE}/Watch", None, None)(request, **call)


async def failure(channel: grpc.aio.Channel, request: bytes, **call: Any) -> tuple[grpc.StatusCode, str | None]:
    """Code and text a unary call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await bake(channel, request, **call)
    return failed.value.code(), failed.value.details()


def counted(method: str, code: str) -> float:
    """grpc_server_handled_total of a method and code."""
    kind = {"Bake": "unary", "Watch": "server_stream"}[method]
    labels = {"grpc_type": kind, "grpc_service": SERVICE, "grpc_method": method, "grpc_code": code}
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0


async def test_an_answer_passes() -> None:
    """Unary and streamed answers arrive as the servicer gave them."""
    async with serving(CallsInFlight()) as channel:
        assert await bake(channel, b"bread") == b"bread"
        assert [each async for each in watch(channel, b"bread")] == [b"first", b"bread"]


@pytest.mark.parametrize("error", RetrogradeError.__subclasses__())
async def test_a_domain_error_is_answered_with_its_code_and_text(error: type[RetrogradeError]) -> None:
    """Every class of the tree answers its own code and its message."""
    async with serving(CallsInFlight()) as channel:
        expected = (error.code, "degrees: 301; write at most 300")
        assert await failure(channel, error.__name__.encode()) == expected


async def test_an_unforeseen_error_does_not_leak() -> None:
    """Any other exception is INTERNAL with the request id and none of its own text."""
    async with serving(CallsInFlight()) as channel:
        code, text = await failure(channel, b"secret", metadata=(("x-request-id", "r-77"),))
    expected = "internal error; the service's log has it under request_id r-77"
    assert (code, text) == (grpc.StatusCode.INTERNAL, expected)


async def test_an_unforeseen_error_is_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the traceback that the client does not get."""
    async with serving(CallsInFlight()) as channel:
        await failure(channel, b"secret")
    assert "hunter2" in caplog.text


async def test_a_stream_s_error_comes_after_what_was_sent() -> None:
    """A stream that fails delivers its first messages, then the code."""
    async with serving(CallsInFlight()) as channel:
        stream = watch(channel, b"NotFoundError")
        assert await stream.read() == b"first"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stream.read()
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_calls_are_counted_by_code_and_timed() -> None:
    """grpc_server_handled_total counts each code of each method once a call, abort by the method included."""
    codes = {b"x": "OK", b"FencedError": "ABORTED", b"secret": "INTERNAL", b"abort": "OUT_OF_RANGE"}
    before = {code: counted("Bake", code) for code in codes.values()}
    async with serving(CallsInFlight()) as channel:
        assert await bake(channel, b"x") == b"x"
        for request in list(codes)[1:]:
            await failure(channel, request)
    assert {code: counted("Bake", code) - before[code] for code in before} == dict.fromkeys(before, 1.0)
    labels = {"grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "Bake"}
    assert (REGISTRY.get_sample_value("grpc_server_handling_seconds_count", labels) or 0) >= 4


async def test_a_cancelled_call_is_counted_and_leaves_nothing_in_flight() -> None:
    """A client that gives up ends the handler; the calls in flight fall to none."""
    calls = CallsInFlight()
    before = counted("Bake", "CANCELLED")
    async with serving(calls) as channel:
        code, _ = await failure(channel, b"slow", timeout=0.2)
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(calls.idle(), 5)
    assert counted("Bake", "CANCELLED") == before + 1


async def test_a_stream_that_breaks_while_nobody_reads_leaves_nothing_in_flight() -> None:
    """The server waits to write when its consumer leaves: the calls in flight fall to none all the same."""
    calls = CallsInFlight()
    async with serving(calls) as channel:
        stream = watch(channel, b"flood")
        assert await stream.read() == b"first"
        stream.cancel()
        await asyncio.wait_for(calls.idle(), 60)


async def test_a_draining_process_refuses_new_calls_and_ends_old_ones() -> None:
    """While draining, a new call is UNAVAILABLE (clients call again elsewhere) and one in flight goes on."""
    calls = CallsInFlight()
    async with serving(calls) as channel:
        stream = watch(channel, b"bread")
        assert await stream.read() == b"first"
        calls.refusal = DRAINING
        code, text = await failure(channel, b"bread")
        assert (code, (text or "").partition(";")[0]) == (UnavailableError.code, "this process is draining")
        assert await stream.read() == b"bread"


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_the_logs_of_a_call_carry_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    """The caller's x-request-id, trace and span are on the lines logged while answering."""
    logs.configure("oven")
    async with serving(CallsInFlight()) as channel:
        await failure(channel, b"secret", metadata=(("x-request-id", "r-1"), ("traceparent", TRACEPARENT)))
    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [each for each in written if each["event"] == "rpc failed"]
    assert (line["request_id"], line["method"]) == ("r-1", f"/{SERVICE}/Bake")
    assert f"00-{line['trace_id']}-{line['span_id']}-01" == TRACEPARENT


async def test_what_a_method_causes_carries_the_ids_of_its_call() -> None:
    """While answering, unary or streamed, the trace bound is the caller's."""
    headers = {"traceparent": TRACEPARENT, "x-request-id": "r-1"}
    async with serving(CallsInFlight()) as channel:
        unary = await bake(channel, b"trace", metadata=tuple(headers.items()))
        streamed = [each async for each in watch(channel, b"trace", metadata=tuple(headers.items()))]
    assert [json.loads(each) for each in (unary, streamed[1])] == [headers, headers]


async def test_an_unknown_method_is_unimplemented() -> None:
    """A method nobody serves is gRPC's own UNIMPLEMENTED."""
    async with serving(CallsInFlight()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(f"/{SERVICE}/Fry", None, None)(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
