"""The ObjectStore port on a directory: an object is a file, its key the path below the root.

An object is written to `.incoming/`, synced, renamed into place, and its folder synced: it appears whole or not at
all, at whatever moment a writer is killed, and is on disk when `put` returns. Any number of processes may share a
directory. One thing S3 has and a file system has not: a key that is also the prefix of others (`a` and `a/b`) is
refused with ConflictError.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from retrograde.runtime.adapters import manifest
from retrograde.runtime.adapters.keys import INCOMING, check_key
from retrograde.runtime.adapters.local_disk import space_named
from retrograde.runtime.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from retrograde.runtime.objects import HalfUpload, Listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ABANDONED_SECONDS = 24 * 3600.0


class DirectoryStore:
    """Objects below `root`, which is made when missing."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / INCOMING
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
            _sweep(self._incoming)
        except OSError as error:
            raise InvalidInputError(
                f"store: {root} cannot be used as a directory: {error.strerror}; name one you may write to"
            ) from error

    def put(self, key: str, data: bytes) -> None:
        """Durable and visible whole when it returns."""
        self._place(key, lambda partial: _write(partial, data))

    def put_file(self, key: str, path: Path) -> None:
        """Stores the file at `path`, without holding it in memory."""
        self._place(key, lambda partial: _copy(path, partial))

    def get(self, key: str) -> bytes:
        """The object's bytes."""
        with self._reading(key) as path:
            return path.read_bytes()

    def get_file(self, key: str, path: Path) -> None:
        """Writes the object to `path`."""
        with self._reading(key) as source:
            source.stat()
            with space_named(path):
                _copy(source, path)

    def exists(self, key: str) -> bool:
        """Whether `key` is there."""
        return self._path(key).is_file()

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with `prefix`, sorted by their UTF-8 bytes as S3 does."""
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder else self._root
        keys = []
        for parent, folders, names in os.walk(start):
            if parent == str(self._root):
                folders[:] = [each for each in folders if each != INCOMING]
            base = Path(parent).relative_to(self._root)
            keys += [key for name in names if (key := (base / name).as_posix()).startswith(prefix)]
        return iter(sorted(keys))

    def sizes(self, prefix: str) -> Iterator[Listed]:
        """As `list`, with the bytes of each."""
        for key in self.list(prefix):
            with contextlib.suppress(FileNotFoundError):
                yield Listed(key, (self._root / key).stat().st_size)

    def half_uploads(self, _prefix: str) -> Iterator[HalfUpload]:
        """None: what a killed writer leaves has no key, and goes when a store is opened a day later."""
        return iter(())

    def delete(self, key: str) -> None:
        """Deletes `key`; a missing key is fine."""
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def upload(self, prefix: str, folder: Path) -> None:
        """Stores the files of `folder` under `prefix` and then the manifest."""
        manifest.upload(self, prefix, folder)

    def download(self, prefix: str, folder: Path) -> None:
        """Brings back what `upload` stored, checksums verified."""
        with space_named(folder):
            manifest.download(self, prefix, folder)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    def _place(self, key: str, write: Callable[[Path], None]) -> None:
        """Writes a file beside the objects, then gives it its name."""
        target = self._path(key)
        partial = self._incoming / uuid.uuid4().hex
        with space_named(target), _no_clash(key):
            try:
                write(partial)
                _make_folders(target.parent)
                partial.rename(target)
                _sync_folder(target.parent)
            finally:
                partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        try:
            yield self._path(key)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFoundError(f"no object {key!r} in {self._root}") from error
        except OSError as error:
            raise UnavailableError(f"{self._root / key}: {error.strerror}; the store could not be read") from error


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())


def _make_folders(folder: Path) -> None:
    """Like mkdir -p, each new folder synced into its parent."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(incoming: Path) -> None:
    """Removes what writers killed long ago left behind."""
    oldest = time.time() - _ABANDONED_SECONDS
    for path in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


@contextlib.contextmanager
def _no_clash(key: str) -> Iterator[None]:
    try:
        yield
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise ConflictError(
            f"key {key!r}: one of it and another key is a folder of the other; a directory holds only one: rename it"
        ) from error
