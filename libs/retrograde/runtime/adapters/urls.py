"""From a URL to an adapter: sqlite:///ABSOLUTE/PATH.db[?session_seconds=N], file:///ABSOLUTE/DIRECTORY, s3://...

Paths are taken literally, without percent-decoding.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.runtime.adapters.sqlite_broker import SqliteBroker
from retrograde.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from retrograde.runtime.broker import Broker
    from retrograde.runtime.objects import SweepableStore

_MIN_SESSION_SECONDS = 0.1


def open_broker(url: str) -> Broker:
    """The broker at `url`; the file and its folder are made when missing.

    Raises:
        InvalidInputError: the URL is none this build can open, or the file is no broker's.
        UnavailableError: the file cannot be reached now.
    """
    if url.startswith("kafka://"):
        from retrograde.runtime.adapters import kafka_broker, kafka_settings  # noqa: PLC0415 - as minio below

        return kafka_broker.KafkaBroker(kafka_settings.parse_kafka_url(url))
    if not url.startswith("sqlite://"):
        _unknown("broker", url, "sqlite:///ABSOLUTE/PATH.db or kafka://HOST:PORT")
    location, question, query = url.partition("?")
    path = _absolute("broker", url, location.removeprefix("sqlite://"), "sqlite:///ABSOLUTE/PATH.db")
    return SqliteBroker(path, session_seconds=_session_seconds(url, query)) if question else SqliteBroker(path)


def open_store(url: str) -> SweepableStore:
    """The object store at `url`; the directory or bucket is made when missing.

    Raises:
        InvalidInputError: the URL is none this build can open, or the directory or bucket cannot be used.
        UnavailableError: the server does not answer.
    """
    if url.startswith("s3://"):
        from retrograde.runtime.adapters import s3_settings, s3_store  # noqa: PLC0415 - minio takes time to import

        return s3_store.S3Store(s3_settings.parse_s3_url(url))
    if not url.startswith("file://"):
        _unknown("store", url, "file:///ABSOLUTE/DIRECTORY")
    return DirectoryStore(_absolute("store", url, url.removeprefix("file://"), "file:///ABSOLUTE/DIRECTORY"))


def _unknown(port: str, url: str, shape: str) -> NoReturn:
    scheme = url.partition("://")[0] if "://" in url else "none"
    raise InvalidInputError(
        f"{port}: {url!r} has scheme {scheme}; this build offers sqlite and kafka for brokers, file and s3 for stores: "
        f"write {shape}"
    )


def _absolute(port: str, url: str, path: str, shape: str) -> Path:
    if not path.startswith("/") or path.endswith("/.."):
        raise InvalidInputError(f"{port}: {url!r} holds no absolute path; write {shape}")
    return Path(path)


def _session_seconds(url: str, query: str) -> float:
    name, _, value = query.partition("=")
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if name != "session_seconds" or not _MIN_SESSION_SECONDS <= seconds < float("inf"):
        raise InvalidInputError(
            f"broker: {url!r}: the only parameter is session_seconds, at least {_MIN_SESSION_SECONDS}: write "
            "?session_seconds=6"
        )
    return seconds
