"""Where an S3 store is, from its URL.

    s3://BUCKET[/PREFIX]?endpoint=http[s]://HOST:PORT&access_key_file=/PATH&secret_key_file=/PATH

Further parameters: ca_file=/PATH, the authority that signed the server's certificate instead of the system's, and
region=R. Everything is taken literally, without percent-decoding. Secrets stand in files, never in the URL.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from retrograde.runtime.adapters.keys import check_key
from retrograde.runtime.adapters.url_query import read_parameters
from retrograde.runtime.errors import InvalidInputError

_SHAPE = "s3://BUCKET[/PREFIX]?endpoint=http://HOST:PORT&access_key_file=/PATH&secret_key_file=/PATH"
_REQUIRED = ("endpoint", "access_key_file", "secret_key_file")
_PARAMETERS = (*_REQUIRED, "ca_file", "region")
DEFAULT_REGION = "us-east-1"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """A bucket at an endpoint, and how long to be patient with it."""

    bucket: str
    endpoint: str
    access_key_file: Path
    secret_key_file: Path
    prefix: str = ""
    """Goes before every key; ends in "/" unless empty."""
    ca_file: Path | None = None
    region: str = DEFAULT_REGION
    timeout_seconds: float = 30.0
    """For a connection that neither takes nor gives a byte."""
    retry_seconds: float = 30.0
    """After this a call is not tried again."""
    part_bytes: int = 16 << 20
    """Larger files travel in parts; each is in memory while it does."""
    num_transfers: int = 4
    """Parts and files that travel at the same time."""


def parse_s3_url(url: str) -> S3Settings:
    """The settings `url` tells.

    Raises:
        InvalidInputError: a part is missing, unknown or not of its form.
    """
    location, _, query = url.removeprefix("s3://").partition("?")
    bucket, _, prefix = location.partition("/")
    if not _BUCKET.fullmatch(bucket):
        _refuse(url, f"bucket {bucket!r} is none: 3 to 63 of a-z, 0-9, '-' and '.'")
    given = _parameters(url, query)
    return S3Settings(
        bucket=bucket,
        prefix=_prefix(url, prefix),
        endpoint=_endpoint(url, given["endpoint"]),
        access_key_file=_file(url, "access_key_file", given["access_key_file"]),
        secret_key_file=_file(url, "secret_key_file", given["secret_key_file"]),
        ca_file=_file(url, "ca_file", given["ca_file"]) if "ca_file" in given else None,
        region=given.get("region", DEFAULT_REGION),
    )


def _parameters(url: str, query: str) -> dict[str, str]:
    given = read_parameters(query, _PARAMETERS, functools.partial(_refuse, url))
    for name in _REQUIRED:
        if name not in given:
            _refuse(url, f"parameter {name} is missing")
    return given


def _prefix(url: str, prefix: str) -> str:
    if not prefix.strip("/"):
        return ""
    try:
        check_key(prefix.rstrip("/"))
    except InvalidInputError as error:
        _refuse(url, f"prefix: {error}")
    return prefix.rstrip("/") + "/"


def _endpoint(url: str, endpoint: str) -> str:
    parts = urlsplit(endpoint)
    try:
        complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port is not None
    except ValueError:
        complete = False
    if not complete or parts.path.strip("/") or "@" in parts.netloc:
        _refuse(url, f"endpoint {endpoint!r} is not http://HOST:PORT or https://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc}"


def _file(url: str, name: str, path: str) -> Path:
    if not path.startswith("/"):
        _refuse(url, f"{name} {path!r} is not an absolute path")
    return Path(path)


def _refuse(url: str, reason: str) -> NoReturn:
    raise InvalidInputError(f"store: {url!r}: {reason}; write {_SHAPE}")
