"""Signed requests (AWS Signature Version 4, by minio-py), as the server's clock has it.

The body is not part of the signature: a CRC-32C, which is, goes with it, costs a tenth of a SHA-256 and is kept by the
server beside the object.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from minio.credentials import Credentials
from minio.signer import sign_v4_s3

from retrograde.runtime.adapters.s3_keys import keys_of
from retrograde.runtime.adapters.s3_refusals import RefusedError
from retrograde.runtime.adapters.s3_settings import S3Settings

_UNSIGNED = "UNSIGNED-PAYLOAD"
_SAME_CLOCK = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the server: about the object `key` of the bucket, or about the bucket itself."""

    method: str
    key: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Signed:
    """What is sent, and the keys that signed it."""

    target: str
    headers: Mapping[str, str]
    keys: Credentials


class Signer:
    """Signs for one bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._url = urlsplit(settings.endpoint)
        self._ahead = timedelta()  # the server's clock, of ours
        self._keys = keys_of(settings)

    def sign(self, request: Request) -> Signed:
        """The request as it is sent. Raises TransientError when there are no keys."""
        key = f"/{self._settings.prefix}{request.key}" if request.key else ""
        path = quote(f"/{self._settings.bucket}{key}", safe="/~")
        pairs = sorted((request.query or {}).items())
        query = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs)
        date = datetime.now(UTC) + self._ahead
        keys = self._keys.current(date)
        headers = {
            **(request.headers or {}),
            **({"x-amz-security-token": keys.session_token} if keys.session_token else {}),
            "Host": self._url.netloc,
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": date.strftime("%Y%m%dT%H%M%SZ"),
        }
        signed: dict[str, str] = sign_v4_s3(
            method=request.method,
            url=self._url._replace(path=path, query=query),
            region=self._settings.region,
            headers=headers,
            credentials=keys,
            content_sha256=_UNSIGNED,
            date=date,
        )
        return Signed(f"{path}?{query}" if query else path, signed, keys)

    def renew(self, keys: Credentials, refused: RefusedError) -> bool:
        """Whether there are others than `keys`, which were refused. Raises TransientError as `sign`."""
        return self._keys.renew(keys, refused)

    def set_clock(self, date: str) -> bool:
        """Goes by the server's clock, from its Date header; whether that differs from what was believed."""
        believed = self._ahead
        self._ahead = email.utils.parsedate_to_datetime(date) - datetime.now(UTC)
        return abs(self._ahead - believed) > _SAME_CLOCK
