"""Metrics: thin over prometheus_client, so that every name is `retrograde_<service>_<quantity>_<unit>[_total]`.

    TREES = metrics.counter("search", "trees_total", "Trees finished", ("outcome",))

Base units only (seconds, bytes, tokens); never an id as a label. `serve` offers them over HTTP. What a library counts
keeps its own names (`vllm:*`, `grpc_server_*`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# From a cached lookup to a long search: 5 ms to 30 min.
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


def _name(service: str, quantity: str) -> str:
    return f"retrograde_{service}_{quantity}"


def counter(service: str, quantity: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
    """A number that only rises; `quantity` ends in `_total`."""
    return Counter(_name(service, quantity), help_text, labels)


def gauge(service: str, quantity: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
    """A number that rises and falls."""
    return Gauge(_name(service, quantity), help_text, labels)


def histogram(
    service: str, quantity: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS
) -> Histogram:
    """A distribution; `quantity` names its unit."""
    return Histogram(_name(service, quantity), help_text, labels, buckets=buckets)


@contextlib.asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[int]:
    """Serves the metrics at http://host:port/metrics (port -1 picks one) until left; gives the port.

    Raises:
        InvalidInputError: the port is taken or the host is not this machine's.
    """
    try:
        server, thread = prometheus_client.start_http_server(max(port, 0), addr=host)
    except (OSError, socket.gaierror) as error:
        raise InvalidInputError(
            f"metrics_port: cannot listen on {host}:{port}: {error.strerror}; free the port or choose another "
            "(-1 picks a free one, 0 turns metrics off)"
        ) from error
    try:
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)  # it waits up to half a second for its own loop
        server.server_close()
        thread.join()
