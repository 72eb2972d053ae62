"""The ObjectStore port: what S3 can really do, and nothing it cannot.

Keys are '/'-separated; an object appears whole or not at all; the last writer wins; there is no conditional put, no
rename and no append. A set of objects is published by writing its manifest last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Listed(NamedTuple):
    """An object in a list."""

    key: str
    num_bytes: int


class HalfUpload(NamedTuple):
    """An upload that was begun and neither finished nor given up; `began_at` is in seconds since 1970."""

    key: str
    began_at: float
    abort: Callable[[], None]
    """Forgets it, and its bytes."""


class ObjectStore(Protocol):
    """Calls block; async code runs them in a thread. Missing keys raise NotFoundError."""

    def put(self, key: str, data: bytes) -> None:
        """Durable and visible whole when it returns."""

    def get(self, key: str) -> bytes:
        """The object's bytes."""

    def exists(self, key: str) -> bool:
        """Whether `key` is there."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted."""

    def delete(self, key: str) -> None:
        """Deletes `key`; a missing key is fine."""

    def upload(self, prefix: str, folder: Path) -> None:
        """Stores the files of `folder` under `prefix` and then `prefix/MANIFEST.json` (name, size, sha256 of each)."""

    def download(self, prefix: str, folder: Path) -> None:
        """Brings back what `upload` stored, checksums verified. No manifest: NotFoundError."""


class SweepableStore(ObjectStore, Protocol):
    """What clearing up needs besides."""

    def sizes(self, prefix: str) -> Iterator[Listed]:
        """As `list`, with the bytes of each."""

    def half_uploads(self, prefix: str) -> Iterator[HalfUpload]:
        """Uploads of keys that begin with `prefix` whose processes ended before they did, as far as the store knows."""
