"""Who caused what: the W3C traceparent and the x-request-id of a call or message go on with what it causes.

    a server's call, a worker's message  --bound-->  context  --carried-->  calls of the clients, messages published

Both are kept in a context variable, so they follow tasks and threads that are started inside. Where spans are recorded
(`spans`) the traceparent names the span that is the cause; elsewhere it is sent on as it came. What is missing or
malformed is made new: whoever is at the start of a chain begins a trace, and decides whether it is recorded.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

TRACEPARENT = "traceparent"
REQUEST_ID = "x-request-id"

# https://www.w3.org/TR/trace-context/#traceparent-header; version ff and ids of zeros are invalid there.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Trace:
    """The two ids of one chain of causes. `is_new` says that no span of it is recorded yet."""

    traceparent: str
    request_id: str
    is_new: bool = field(default=False, compare=False)

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def is_sampled(self) -> bool:
        """Whether its spans are recorded, where spans are."""
        return bool(int(self.traceparent[53:55], 16) & 1)

    @property
    def headers(self) -> dict[str, str]:
        """As metadata of a call, or headers of a message."""
        return {TRACEPARENT: self.traceparent, REQUEST_ID: self.request_id}


_current: ContextVar[Trace | None] = ContextVar("retrograde_trace", default=None)
_share = 0.0


def trace_of(headers: Mapping[str, str]) -> Trace:
    """The ids in `headers`, each new where it is missing or malformed."""
    traceparent, request_id = headers.get(TRACEPARENT, ""), headers.get(REQUEST_ID, "")
    is_new = not _TRACEPARENT.fullmatch(traceparent)
    return Trace(
        _new_traceparent() if is_new else traceparent,
        request_id if _REQUEST_ID.fullmatch(request_id) else _random_hex(32),
        is_new,
    )


def current() -> Trace:
    """What causes what is done here; a new trace where nothing is bound."""
    return _current.get() or trace_of({})


def carried() -> dict[str, str]:
    """The headers of what is caused here."""
    return current().headers


def ids() -> dict[str, str]:
    """For a line of a log: what is bound here, nothing where nothing is."""
    trace = _current.get()
    return (
        {} if trace is None else {"request_id": trace.request_id, "trace_id": trace.trace_id, "span_id": trace.span_id}
    )


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


def sample(share: float) -> float:
    """From now on that share of the traces begun here is recorded; gives the share until now."""
    global _share
    before, _share = _share, share
    return before


def _new_traceparent() -> str:
    """Version 00, random ids; sampled as often as `sample` said, at first never."""
    return f"00-{_random_hex(32)}-{_random_hex(16)}-{int(random.random() < _share):02x}"


def _random_hex(num_digits: int) -> str:
    """To tell chains of causes apart, not to be kept secret; several times cheaper than the system's source."""
    return f"{random.getrandbits(4 * num_digits):0{num_digits}x}"
