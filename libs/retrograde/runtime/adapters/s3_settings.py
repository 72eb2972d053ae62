"""Where an S3 store is, from its URL.

    s3://BUCKET[/PREFIX]?endpoint=http[s]://HOST:PORT&access_key_file=/PATH&secret_key_file=/PATH

With identity=account in place of the two files keys are those of the process's own account in its cloud (s3_keys).
Further parameters: ca_file=/PATH, the authority that signed the server's certificate instead of the system's, and
region=R. Everything is taken literally, without percent-decoding. Secrets stand in files, never in the URL.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from retrograde.runtime.adapters.keys import check_key
from retrograde.runtime.adapters.url_query import read_parameters
from retrograde.runtime.errors import InvalidInputError

_SHAPE = "s3://BUCKET[/PREFIX]?endpoint=http://HOST:PORT&access_key_file=/PATH&secret_key_file=/PATH"
_KEY_FILES = ("access_key_file", "secret_key_file")
_PARAMETERS = ("endpoint", *_KEY_FILES, "ca_file", "region", "identity")
DEFAULT_REGION = "us-east-1"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """A bucket at an endpoint, and how long to be patient with it."""

    bucket: str
    endpoint: str
    key_files: tuple[Path, Path] | None
    """Of the access key and the secret key; None: keys of the process's account."""
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
        key_files=None if "identity" in given else _key_files(url, given),
        ca_file=_file(url, "ca_file", given["ca_file"]) if "ca_file" in given else None,
        region=given.get("region", DEFAULT_REGION),
    )


def _parameters(url: str, query: str) -> dict[str, str]:
    given = read_parameters(query, _PARAMETERS, functools.partial(_refuse, url))
    for name in ("endpoint", *(() if "identity" in given else _KEY_FILES)):
        if name not in given:
            _refuse(url, f"parameter {name} is missing")
    if "identity" in given:
        _check_identity(url, given)
    return given


def _check_identity(url: str, given: Mapping[str, str]) -> None:
    if given["identity"] != "account":
        _refuse(url, f"identity {given['identity']!r} is none: account, or leave it out and name key files")
    for name in _KEY_FILES:
        if name in given:
            _refuse(url, f"parameter {name} is given beside identity=account; leave one of them out")


def _key_files(url: str, given: Mapping[str, str]) -> tuple[Path, Path]:
    access_key_file, secret_key_file = (_file(url, name, given[name]) for name in _KEY_FILES)
    return access_key_file, secret_key_file


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
