"""Requests to an S3 server: signed, sent, repeated while that may help, their bytes checked.

A request is sent again, after growing pauses with jitter, when the connection breaks, when the server is busy or gone,
when bytes were damaged on the way and when an account is given no keys: at most MAX_ATTEMPTS times and for
`retry_seconds`. That is safe because keys are derived from inputs: a thing done twice leaves one thing. Keys refused
are read again or asked for again, in case there are others; a clock that differs too much is corrected by the server's.
"""

from __future__ import annotations

import base64
import http
import http.client
import io
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import crc32c

from retrograde.runtime.adapters.s3_connections import Connections, CutError, cuts_named, exchange
from retrograde.runtime.adapters.s3_refusals import RefusedError, TransientError, read_refusal, refusal
from retrograde.runtime.adapters.s3_settings import S3Settings
from retrograde.runtime.adapters.s3_signer import Request, Signed, Signer
from retrograde.runtime.errors import DataLossError, InvalidInputError, UnavailableError

CHECKSUM = "x-amz-checksum-crc32c"
WITH_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}
"""Asks the server to send along what it keeps as the object's checksum."""
MAX_ATTEMPTS = 20
_PIECE_BYTES = 1 << 18
_MAX_PIECED_BYTES = 32 << 20  # memory for more is always fresh: to clear it first costs more than pieces save
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of success; names of headers are in lower case. `data` is empty when it went elsewhere."""

    headers: Mapping[str, str]
    data: bytes


Receive = Callable[[http.client.HTTPResponse, Mapping[str, str]], tuple[bytes, int]]
"""Takes the body of an answer: returns what of it is to be in the reply, and the CRC-32C of all of it."""


def receive_whole(response: http.client.HTTPResponse, _: Mapping[str, str]) -> tuple[bytes, int]:
    """Into memory; a body of middling length in pieces that are checked while the processor has them at hand."""
    num_bytes = response.length
    if num_bytes is None or not _PIECE_BYTES < num_bytes <= _MAX_PIECED_BYTES:
        with cuts_named():
            data = response.read()
        return data, crc32c.crc32c(data)
    buffer, crc, start = io.BytesIO(), 0, 0
    buffer.seek(num_bytes - 1)
    buffer.write(b"\0")  # room for all of it, which getvalue hands out without a copy
    with buffer.getbuffer() as view:
        while start < num_bytes:
            with cuts_named():
                count = response.readinto(view[start : start + _PIECE_BYTES])
            if not count:
                raise CutError(f"{num_bytes - start} bytes are missing at the end of the answer")
            crc = crc32c.crc32c(view[start : start + count], crc)
            start += count
    return buffer.getvalue(), crc


def checksum(data: bytes) -> str:
    """CRC-32C as S3 writes it."""
    return encoded(crc32c.crc32c(data))


def encoded(crc: int) -> str:
    """A CRC-32C as S3 writes it."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


class S3Client:
    """Safe to use from any number of threads."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._signer = Signer(settings)
        self._connections = Connections(settings)

    def ask(self, request: Request, receive: Receive = receive_whole) -> Reply:
        """The server's answer.

        Raises:
            NotFoundError: no such object.
            InvalidInputError: certificate or request are refused.
            UnavailableError: it was tried for as long as it may be, or keys or bucket are no longer good.
            DataLossError: the bytes are not those of their checksum, each time.
        """
        try:
            return self.attempt(request, receive)
        except RefusedError as error:
            raise refusal(self.settings, request.key, error) from error

    def attempt(self, request: Request, receive: Receive = receive_whole) -> Reply:
        """As `ask`, but a refusal that cannot pass is a RefusedError."""
        give_up = time.monotonic() + self.settings.retry_seconds
        pause = _FIRST_PAUSE_SECONDS
        for number in range(MAX_ATTEMPTS):
            try:
                return self._once(request, receive)
            except TransientError as error:
                if number + 1 == MAX_ATTEMPTS or time.monotonic() + pause > give_up:
                    raise error.final from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, request: Request, receive: Receive) -> Reply:
        settings = self.settings
        signed = self._signer.sign(request)
        try:
            return self._send(request, signed, receive)
        except CutError as error:
            text = f"store: {settings.endpoint} does not answer: {error}; start the server, or correct the endpoint"
            raise TransientError(UnavailableError(text)) from error
        except ssl.SSLCertVerificationError as error:
            raise InvalidInputError(
                f"store: ca_file {settings.ca_file or '(the system)'}: the certificate of {settings.endpoint} is not "
                f"trusted: {error.verify_message}; name the PEM file of the authority that signed it"
            ) from error
        except RefusedError as error:
            if error.is_passing or self._is_remedied(error, signed):
                raise TransientError(refusal(settings, request.key, error)) from error
            raise

    def _is_remedied(self, refused: RefusedError, signed: Signed) -> bool:
        """Whether there are other keys now, or a better clock."""
        if refused.is_about_time and refused.date:
            return self._signer.set_clock(refused.date)
        return (refused.is_about_keys or refused.may_be_session) and self._signer.renew(signed.keys, refused)

    def _send(self, request: Request, signed: Signed, receive: Receive) -> Reply:
        with self._connections.lend() as connection:
            response = exchange(connection, request.method, signed.target, signed.headers, request.body)
            found = {name.lower(): value for name, value in response.getheaders()}
            is_refused = response.status >= http.HTTPStatus.MULTIPLE_CHOICES
            data, crc = (receive_whole if is_refused else receive)(response, found)
        if is_refused:
            raise read_refusal(response.status, found, data)
        if request.method == "GET":
            _check(request.key, found, crc)
        return Reply(found, data)


def _check(key: str, headers: Mapping[str, str], crc: int) -> None:
    """Compares with the checksum the server keeps; one of parts ("...-3") is not of these bytes."""
    kept = headers.get(CHECKSUM, "")
    if kept and "-" not in kept and kept != encoded(crc):
        raise TransientError(DataLossError(f"{key}: CRC-32C is {encoded(crc)}, the store says {kept}; store it again"))
