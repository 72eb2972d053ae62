"""Connections to one server, kept open between requests; a request and the head of its answer.

Whatever breaks on the way is a CutError, so that it cannot be taken for a fault of the local disk.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
import weakref
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.errors import InvalidInputError

_SLICE_BYTES = 1 << 20


class CutError(Exception):
    """The server could not be reached, or stopped in the middle."""


class Connections:
    """Safe to use from any number of threads; each has a connection to itself while it uses it."""

    def __init__(self, settings: S3Settings) -> None:
        url = urlsplit(settings.endpoint)
        self._host, self._port = str(url.hostname), url.port
        self._timeout = settings.timeout_seconds
        self._context = _context(settings) if url.scheme == "https" else None
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close_all, self._idle)  # a store is not closed: it goes with the last who uses it

    @contextlib.contextmanager
    def lend(self) -> Iterator[http.client.HTTPConnection]:
        """A connection; after a fault it is closed, and so are all that nobody uses: they may be of a dead server."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._new()
        try:
            yield connection
        except BaseException:
            connection.close()
            _close_all(self._idle)
            raise
        self._idle.append(connection)

    def _new(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | memoryview,
) -> http.client.HTTPResponse:
    """Sends a request and reads the head of its answer; the answer's own body is still to be read.

    Raises:
        CutError: as above.
    """
    length = {"Content-Length": str(len(body))} if body or method in {"PUT", "POST"} else {}
    with cuts_named():
        try:
            connection.request(method, target, _slices(body) if body else None, {**headers, **length})
        except (BrokenPipeError, ConnectionResetError):
            if connection.sock is None:
                raise
            # A server that refuses says why and hangs up, with part of the body still unsent.
        return connection.getresponse()


@contextlib.contextmanager
def cuts_named() -> Iterator[None]:
    """Faults of the network inside are CutErrors, except a certificate that is not trusted."""
    try:
        yield
    except ssl.SSLCertVerificationError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise CutError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    with contextlib.suppress(IndexError):  # of an empty list, which other threads may empty too
        while True:
            connections.pop().close()


def _slices(body: bytes | memoryview) -> Iterator[memoryview]:
    """The body in pieces: the time-out of a socket is for each, not for all of it."""
    view = memoryview(body)
    for start in range(0, len(body), _SLICE_BYTES):
        yield view[start : start + _SLICE_BYTES]


def _context(settings: S3Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(
            f"store: ca_file {settings.ca_file}: {error}; name a PEM file with the authority's certificate"
        ) from error
