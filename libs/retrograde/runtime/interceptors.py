"""What stands between the wire and every servicer method, in one interceptor.

    refuse unless serving -> bind x-request-id and traceparent -> admit -> call -> answer errors -> count and time

A RetrogradeError is answered with its class's code and its message, and marked as this process's own words (`REFUSED`):
all that a stream brought before it has come. Anything else is logged with its traceback and
answered INTERNAL with nothing but the request id: an exception's text may hold what no client should read. Health and
reflection pass untouched. Methods are coroutines or async generators (not the `context.write` style).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import TYPE_CHECKING, Any

import grpc
from prometheus_client import Counter, Histogram

from retrograde.runtime import logs, spans, tracing
from retrograde.runtime.errors import OverloadedError, RateLimitedError, RetrogradeError
from retrograde.runtime.metrics import SECONDS_BUCKETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from retrograde.runtime.spans import Span

    Admit = Callable[[str, grpc.aio.ServicerContext[Any, Any]], str]
    """The caller's name, from the method and the call. Raises what answers a caller that is not let in."""

Context = grpc.aio.ServicerContext

_METHOD_LABELS = ("grpc_type", "grpc_service", "grpc_method")
HANDLED = Counter("grpc_server_handled_total", "RPCs completed", (*_METHOD_LABELS, "grpc_code"))
SECONDS = Histogram("grpc_server_handling_seconds", "Time to answer an RPC", _METHOD_LABELS, buckets=SECONDS_BUCKETS)
PUSHBACK_KEY = "grpc-retry-pushback-ms"
STARTING = "this process is starting; call again"
DRAINING = "this process is draining; call again, another answers"
REFUSED = ("x-refused", "1")
"""In the trailing metadata of what was refused by a service, and not by whatever is between it and its caller."""
_OVERLOAD_SECONDS = 1.0
UNTOUCHED = ("/grpc.health.", "/grpc.reflection.")

_OUR_FAULT = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""Codes that make a server's span a failed one; the others are the caller's."""

_log = logs.get_logger(__name__)


class CallsInFlight:
    """Knows the calls being answered, so that a draining process can wait for the last one, and cut it off.

    While there is a `refusal`, new ones are answered with it.
    """

    def __init__(self) -> None:
        self.refusal = ""
        self.is_cut_off = False
        self._tasks: set[asyncio.Task[object] | None] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Around one call. A stream that breaks off may be closed by another task than the one that began it."""
        task = asyncio.current_task()
        self._tasks.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._tasks.discard(task)
            if not self._tasks:
                self._idle.set()

    async def idle(self) -> None:
        """Returns when no call is being answered."""
        await self._idle.wait()

    def cut_off(self) -> None:
        """Cancels the calls still being answered; each answers UNAVAILABLE."""
        self.is_cut_off = True
        for task in self._tasks:
            if task:
                task.cancel()


class ServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Wraps every method once; see the module."""

    def __init__(self, calls: CallsInFlight, admit: Admit = lambda _method, _context: "") -> None:
        self._calls = calls
        self._admit = admit
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The method's wrapped handler; None for a method nobody serves (gRPC answers UNIMPLEMENTED)."""
        method = str(handler_call_details.method)
        if (wrapped := self._wrapped.get(method)) is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(UNTOUCHED):
            return handler
        self._wrapped[method] = _wrap(handler, _Observer(method, handler, self._calls, self._admit))
        return self._wrapped[method]


def _wrap(handler: grpc.RpcMethodHandler[Any, Any], observer: _Observer) -> grpc.RpcMethodHandler[Any, Any]:
    """The same handler with its behaviour inside `observer`."""
    kind = (
        ("stream" if handler.request_streaming else "unary")
        + "_"
        + ("stream" if handler.response_streaming else "unary")
    )
    behaviour = getattr(handler, kind)

    async def answer(request: object, context: Context[Any, Any]) -> object:
        async with observer.call(context):
            return await behaviour(request, context)

    async def stream(request: object, context: Context[Any, Any]) -> AsyncIterator[object]:
        async with observer.call(context), contextlib.aclosing(behaviour(request, context)) as replies:
            async for reply in replies:
                yield reply

    make = getattr(grpc, f"{kind}_rpc_method_handler")
    wrapped: grpc.RpcMethodHandler[Any, Any] = make(
        stream if handler.response_streaming else answer,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return wrapped


class _Observer:
    """What is done around each call of one method."""

    def __init__(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any], calls: CallsInFlight, admit: Admit
    ) -> None:
        service, _, name = method.lstrip("/").partition("/")
        kinds = {(0, 0): "unary", (0, 1): "server_stream", (1, 0): "client_stream", (1, 1): "bidi_stream"}
        labels = (kinds[int(handler.request_streaming), int(handler.response_streaming)], service, name)
        self._method = method
        self._name, self._about = f"{service}/{name}", spans.rpc(service, name)
        self._calls = calls
        self._admit = admit
        self._seconds = SECONDS.labels(*labels)
        self._handled = {code: HANDLED.labels(*labels, code.name) for code in grpc.StatusCode}

    @contextlib.asynccontextmanager
    async def call(self, context: Context[Any, Any]) -> AsyncIterator[None]:
        """Around one call; leaves by `context.abort` when it failed."""
        if self._calls.refusal:
            self._handled[grpc.StatusCode.UNAVAILABLE].inc()
            await context.abort(grpc.StatusCode.UNAVAILABLE, self._calls.refusal, (REFUSED,))
        started = time.perf_counter()
        span = self._begin(context)
        code = grpc.StatusCode.OK
        try:
            with self._calls.one():
                if caller := self._admit(self._method, context):
                    logs.bind(caller=caller)
                yield
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.UNAVAILABLE if self._calls.is_cut_off else grpc.StatusCode.CANCELLED
            if not self._calls.is_cut_off:
                raise
            await context.abort(code, "this process ended before the call did; call again, another answers")
        except grpc.aio.AbortError:
            code = _code_of(context)
            raise
        except RetrogradeError as error:
            code = error.code
            await self._abort(context, error)
        except Exception:  # noqa: BLE001 - the last line of defence: logged whole, answered without its text
            code = grpc.StatusCode.INTERNAL
            _log.exception("rpc failed", method=self._method)
            await context.abort(
                code, f"internal error; the service's log has it under request_id {span.trace.request_id}"
            )
        finally:
            self._handled[code].inc()
            self._seconds.observe(time.perf_counter() - started)
            span.note("rpc.grpc.status_code", code.value[0])
            span.end(code.name if code in _OUR_FAULT else "")

    def _begin(self, context: Context[Any, Any]) -> Span:
        """Binds the caller's ids (or new ones) to what the call logs and causes."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        span = spans.begin(self._name, tracing.trace_of(metadata), spans.Kind.SERVER, self._about)
        tracing.bind(span.trace)
        logs.bind(method=self._method)
        return span

    async def _abort(self, context: Context[Any, Any], error: RetrogradeError) -> None:
        _log.info("rpc refused", method=self._method, code=error.code.name, reason=str(error))
        await context.abort(error.code, str(error), (REFUSED, *_pushback(error)))


def _pushback(error: RetrogradeError) -> tuple[tuple[str, str], ...]:
    """When to call again, as gRPC's clients read it."""
    if not isinstance(error, OverloadedError):
        return ()
    spread = _OVERLOAD_SECONDS * random.uniform(0.5, 1.0)  # so that not all come back at once
    seconds = error.retry_seconds if isinstance(error, RateLimitedError) else spread
    return ((PUSHBACK_KEY, str(math.ceil(1000 * seconds))),)


def _code_of(context: Context[Any, Any]) -> grpc.StatusCode:
    """The code a method itself aborted with."""
    code: object = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    return next((each for each in grpc.StatusCode if each.value[0] == code), grpc.StatusCode.UNKNOWN)
