"""Stores on the real MinIO, straight or through a proxy that breaks what goes through it."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters.s3_settings import S3Settings, parse_s3_url
from retrograde.runtime.adapters.s3_store import S3Store
from tests.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from retrograde.cli.servers.minio_server import MinioServer

PART_BYTES = 5 << 20  # the least that S3 takes for a part that is not the last


@pytest.fixture
def settings(minio_server: MinioServer) -> S3Settings:
    """A bucket that nobody used before; the smallest parts, a second of patience with silence."""
    url = minio_server.url(f"test-{uuid.uuid4().hex}")
    return replace(parse_s3_url(url), part_bytes=PART_BYTES, timeout_seconds=1.0, retry_seconds=10.0)


@pytest.fixture
def store(settings: S3Settings) -> S3Store:
    return S3Store(settings)


@pytest.fixture
def proxy(minio_server: MinioServer) -> Iterator[Proxy]:
    with Proxy(minio_server.ports[0]) as proxy:
        yield proxy


@pytest.fixture
def behind(settings: S3Settings, proxy: Proxy) -> Callable[..., S3Store]:
    """Opens the store of `settings` through the proxy: `behind(retry_seconds=1.0)`."""

    def make(**changes: float) -> S3Store:
        return S3Store(replace(settings, endpoint=f"http://127.0.0.1:{proxy.port}", **changes))  # type: ignore[arg-type]

    return make
