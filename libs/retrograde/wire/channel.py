"""A channel to one service: deadlines, retries on UNAVAILABLE, and the domain error raised again at the caller's side.

Retries live here and in the broker's redelivery, nowhere else. A call is retried only while the service does not
answer (UNAVAILABLE) or says when to call again (it is full, or the caller too fast): every RPC of ours is idempotent or
leased, so a repeated call is safe.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from retrograde.runtime import spans, tracing
from retrograde.runtime.errors import BY_CODE, NoAnswerError, RetrogradeError, UnavailableError
from retrograde.runtime.interceptors import PUSHBACK_KEY, REFUSED
from retrograde.runtime.settings import DNS_PREFIX, is_loopback
from retrograde.runtime.spans import Span
from retrograde.runtime.tls import Identity, Shown
from retrograde.runtime.tracing import Trace
from retrograde.wire.rotating import RotatingChannel

T = TypeVar("T")

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
_SEVERAL = ("dns:", "ipv4:", "ipv6:")
_BY_TURNS = [("grpc.lb_policy_name", "round_robin"), ("grpc.dns_min_time_between_resolutions_ms", 1_000)]
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""The service is not there, or ended the call as it left: ask again."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


def domain_error(error: grpc.aio.AioRpcError) -> RetrogradeError:
    """The error the service raised, as its own class; NoAnswerError when it was late, away, or left during the call."""
    if error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, *AWAY}:
        kind = UnavailableError if REFUSED in _trailing(error).items() else NoAnswerError
        return kind(error.details() or error.code().name.lower())
    return BY_CODE.get(error.code(), RetrogradeError)(error.details() or error.code().name.lower())


def metadata(trace: Trace | None = None) -> tuple[tuple[str, str], ...]:
    """The ids that a call carries on, of what is bound by default; one call, repeated or not, has one set of them."""
    return tuple((trace or tracing.current()).headers.items())


def recorded(request: Message) -> AbstractContextManager[Span | None]:
    """A span around a call with `request`, repeated or not."""
    service, method = _rpc_of(request.DESCRIPTOR)
    return spans.record(f"{service}/{method}", spans.Kind.CLIENT, spans.rpc(service, method))


@functools.cache
def _rpc_of(message: Descriptor) -> tuple[str, str]:
    """Service and method that take messages of this kind: here every RPC has its own."""
    for service in message.file.services_by_name.values():
        for method in service.methods:
            if method.input_type == message:
                return service.full_name, method.name
    return "", message.name


def open_channel(address: str, identity: Identity | None = None, name: str = "") -> grpc.aio.Channel:
    """A channel with the limits and pings that all our clients use; in plaintext without `identity`.

    `address` is host:port, or dns:///name:port, which stands for all addresses of the name: calls take turns among
    those that answer. They are asked for again when a connection ends, which servers see to (runtime.process).

    The other side's certificate must be for `name`, by default the host of `address`, and signed by the identity's
    authority; where that names none, by one that the system trusts, or on loopback the channel is plaintext.
    """
    options = [*_OPTIONS, *(_BY_TURNS if address.startswith(_SEVERAL) else [])]
    if identity is None:
        return grpc.aio.insecure_channel(address, options=options)
    named = [*options, *([("grpc.ssl_target_name_override", name)] if name else [])]

    def open_(shown: Shown) -> grpc.aio.Channel:
        if shown.authority is None and is_loopback(address.removeprefix(DNS_PREFIX).rpartition(":")[0]):
            return grpc.aio.insecure_channel(address, options=options)
        credentials = grpc.ssl_channel_credentials(shown.authority, *(shown.pair or ()))
        return grpc.aio.secure_channel(address, credentials, options=named)

    return RotatingChannel(open_, identity)


async def patiently(attempt: Callable[[], Awaitable[T]], patience_seconds: float) -> T:
    """What `attempt` returns, repeated while the service is away, or after the pause that it asks for.

    Raises domain errors.
    """
    clock = asyncio.get_running_loop().time
    give_up = clock() + patience_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await attempt()
        except grpc.aio.AioRpcError as error:
            asked = asked_pause(error)
            wait = pause * random.uniform(0.5, 1.0) if asked is None else asked
            if (asked is None and error.code() not in AWAY) or clock() + max(wait, pause) > give_up:
                raise domain_error(error) from error
        await asyncio.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def asked_pause(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which the service takes the call; None where it does not say."""
    said = _trailing(error).get(PUSHBACK_KEY)
    return None if said is None else int(said) / 1000


def _trailing(error: grpc.aio.AioRpcError) -> dict[str, str]:
    metadata: Any = error.trailing_metadata() or ()  # pairs, which the stubs do not say
    return dict(metadata)


class ServiceClient:
    """Base of the typed clients: an async context manager around one channel.

    `patience_seconds` bounds how long a call waits for a service that is away (restarting, say) or full, before it
    raises UnavailableError or OverloadedError; `deadline_seconds` bounds one attempt. With `identity` the connection is
    encrypted, and both sides show who they are.
    """

    def __init__(
        self,
        address: str,
        *,
        identity: Identity | None = None,
        patience_seconds: float = 300.0,
        deadline_seconds: float = 600.0,
    ) -> None:
        self.address = address
        self._patience = patience_seconds
        self._deadline = deadline_seconds
        self._channel = open_channel(address, identity)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)

    async def _call(self, method: Callable[..., Awaitable[T]], request: Message) -> T:
        """One unary call, repeated while the service is away."""
        with recorded(request):
            call = functools.partial(method, request, timeout=self._deadline, metadata=metadata())
            return await patiently(call, self._patience)

    async def _stream(self, method: Callable[..., AsyncIterable[T]], request: Message) -> AsyncIterator[T]:
        """A server stream; not repeated here, for only the caller knows where it stopped."""
        service, name = _rpc_of(request.DESCRIPTOR)
        span = spans.begin(f"{service}/{name}", tracing.current(), spans.Kind.CLIENT, spans.rpc(service, name))
        failure = ""
        try:
            async for message in method(request, metadata=metadata(span.trace)):
                yield message
        except grpc.aio.AioRpcError as error:
            failure = error.code().name
            raise domain_error(error) from error
        finally:
            span.end(failure)
