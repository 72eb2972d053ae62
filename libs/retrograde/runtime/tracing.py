"""Who caused what: the W3C traceparent and the x-request-id of a call or message go on with what it causes.

    a server's call, a worker's message  --bound-->  context  --carried-->  calls of the clients, messages published

Both are kept in a context variable, so they follow tasks and threads that are started inside. This platform records no
spans, therefore the traceparent is sent on as it came and parents stay those of the caller's own tracing. What is
missing or malformed is made new: whoever is at the start of a chain begins a trace.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrograde.runtime.broker import Broker, Consumer

TRACEPARENT = "traceparent"
REQUEST_ID = "x-request-id"

# https://www.w3.org/TR/trace-context/#traceparent-header; version ff and ids of zeros are invalid there.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Trace:
    """The two ids of one chain of causes."""

    traceparent: str
    request_id: str

    @property
    def headers(self) -> dict[str, str]:
        """As metadata of a call, or headers of a message."""
        return {TRACEPARENT: self.traceparent, REQUEST_ID: self.request_id}


_current: ContextVar[Trace | None] = ContextVar("retrograde_trace", default=None)


def trace_of(headers: Mapping[str, str]) -> Trace:
    """The ids in `headers`, each new where it is missing or malformed."""
    traceparent, request_id = headers.get(TRACEPARENT, ""), headers.get(REQUEST_ID, "")
    return Trace(
        traceparent if _TRACEPARENT.fullmatch(traceparent) else _new_traceparent(),
        request_id if _REQUEST_ID.fullmatch(request_id) else _random_hex(32),
    )


def carried() -> dict[str, str]:
    """The headers of what is caused here; those of a new trace where nothing is bound."""
    return (_current.get() or trace_of({})).headers


def bind(trace: Trace) -> None:
    """`trace` causes what the current task does from here on."""
    _current.set(trace)


@contextlib.contextmanager
def bound(trace: Trace) -> Iterator[None]:
    """`trace` causes what is done inside, also by the tasks and threads started there."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


def _new_traceparent() -> str:
    """Version 00, random ids, not sampled: nobody records it."""
    return f"00-{_random_hex(32)}-{_random_hex(16)}-00"


def _random_hex(num_digits: int) -> str:
    """To tell chains of causes apart, not to be kept secret; several times cheaper than the system's source."""
    return f"{random.getrandbits(4 * num_digits):0{num_digits}x}"


class TracedBroker:
    """Another broker, whose messages carry the ids of what caused them; headers given by name win."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def create_topic(self, topic: str, num_partitions: int) -> None:
        """See Broker."""
        self._broker.create_topic(topic, num_partitions)

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """See Broker."""
        self._broker.publish(topic, key, value, {**carried(), **(headers or {})})

    def consumer(self, topic: str, group: str) -> Consumer:
        """See Broker."""
        return self._broker.consumer(topic, group)

    def lag(self, topic: str, group: str) -> int:
        """See Broker."""
        return self._broker.lag(topic, group)

    def close(self) -> None:
        """See Broker."""
        self._broker.close()
