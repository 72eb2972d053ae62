"""Sets of objects, published by a manifest written last: the same for every adapter of the ObjectStore port.

`upload` puts the files of a folder under a prefix and then `prefix/MANIFEST.json` with each one's name, size and
sha256; `download` brings back exactly what the manifest lists, each file checked before it gets its name. The same
set uploaded again is safe beside readers, and repairs what was damaged; another set first takes the manifest away.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from retrograde.runtime.errors import DataLossError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MANIFEST = "MANIFEST.json"


class FileStore(Protocol):
    """What an adapter offers for this: the port's calls, and whole files streamed both ways."""

    def put(self, key: str, data: bytes) -> None:
        """As ObjectStore.put."""

    def get(self, key: str) -> bytes:
        """As ObjectStore.get."""

    def exists(self, key: str) -> bool:
        """As ObjectStore.exists."""

    def delete(self, key: str) -> None:
        """As ObjectStore.delete."""

    def put_file(self, key: str, path: Path) -> None:
        """Stores the file at `path`, without holding it in memory."""

    def get_file(self, key: str, path: Path) -> None:
        """Writes the object to `path`; NotFoundError when missing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a set; `name` is relative to the prefix."""

    name: str
    num_bytes: int
    sha256: str


class Each(Protocol):
    """Does something with each of several entries, in whatever order; the first fault is raised."""

    def __call__(self, work: Callable[[Entry], None], items: Iterable[Entry]) -> object:
        """Returns when all are done."""


def one_by_one(work: Callable[[Entry], None], items: Iterable[Entry]) -> None:
    """The simplest of them."""
    for entry in items:
        work(entry)


def upload(store: FileStore, prefix: str, folder: Path, each: Each = one_by_one) -> None:
    """Stores `folder` under `prefix`, manifest last.

    Raises:
        InvalidInputError: `folder` is no directory, holds no file, or holds a file named MANIFEST.json.
    """
    prefix = prefix.rstrip("/")
    entries = [_entry(folder, path) for path in _files(folder)]
    manifest = _render(entries)
    if not _published(store, prefix, manifest):
        store.delete(f"{prefix}/{MANIFEST}")  # between two sets there is none, never a mixed one
    each(lambda entry: store.put_file(f"{prefix}/{entry.name}", folder / entry.name), entries)
    store.put(f"{prefix}/{MANIFEST}", manifest)


def download(store: FileStore, prefix: str, folder: Path, each: Each = one_by_one) -> None:
    """Brings the set at `prefix` into `folder`, each file checked before it gets its name.

    Raises:
        NotFoundError: no manifest: never published, or being replaced.
        DataLossError: a file is missing or is not what the manifest says.
    """
    prefix = prefix.rstrip("/")
    entries = _parse(prefix, store.get(f"{prefix}/{MANIFEST}"))
    each(lambda entry: _bring(store, prefix, folder / entry.name, entry), entries)


def _bring(store: FileStore, prefix: str, target: Path, entry: Entry) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        _fetch(store, f"{prefix}/{entry.name}", entry, partial)
        os.replace(partial, target)  # noqa: PTH105 - the pair of open and replace is clearer so
    finally:
        partial.unlink(missing_ok=True)


def _fetch(store: FileStore, key: str, entry: Entry, partial: Path) -> None:
    try:
        store.get_file(key, partial)
    except NotFoundError as error:
        raise DataLossError(f"{key}: named in its manifest and missing; upload the set again") from error
    if (found := _digest(partial)) != entry.sha256:
        raise DataLossError(f"{key}: sha256 is {found}, the manifest says {entry.sha256}; upload the set again")


def _published(store: FileStore, prefix: str, manifest: bytes) -> bool:
    """Whether this very set is at `prefix` already."""
    try:
        return store.get(f"{prefix}/{MANIFEST}") == manifest
    except NotFoundError:
        return False


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: no such directory; give the folder whose files are to be stored")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise InvalidInputError(f"{folder}: holds no file; a set has at least one")
    if folder / MANIFEST in paths:
        raise InvalidInputError(f"{folder / MANIFEST}: the store writes this name itself; move the file away")
    return iter(paths)


def _entry(folder: Path, path: Path) -> Entry:
    return Entry(path.relative_to(folder).as_posix(), path.stat().st_size, _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _render(entries: list[Entry]) -> bytes:
    files = [{"name": each.name, "size": each.num_bytes, "sha256": each.sha256} for each in entries]
    return json.dumps({"files": files}, indent=1).encode()


def _parse(prefix: str, manifest: bytes) -> list[Entry]:
    try:
        entries = [Entry(each["name"], each["size"], each["sha256"]) for each in json.loads(manifest)["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataLossError(f"{prefix}/{MANIFEST}: not a manifest; upload the set again") from error
    for entry in entries:
        parts = PurePosixPath(entry.name).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise DataLossError(f"{prefix}/{MANIFEST}: name {entry.name!r} leaves the folder; upload the set again")
    return entries
