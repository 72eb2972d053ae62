"""What only the directory store has to answer: its file system."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters.directory_store import DirectoryStore
from retrograde.runtime.errors import ConflictError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def failing(number: int) -> Callable[[int], None]:
    """An fsync that fails with `number`, as a disk's would."""

    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


def test_a_full_disk_names_the_path_and_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space left: UnavailableError with path and free space; the old object stays, nothing half-written stays."""
    store = DirectoryStore(tmp_path)
    store.put("a/k", b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(UnavailableError, match=rf"{tmp_path}/a/k: No space left on device; [\d.]+ MiB are free there"):
        store.put("a/k", b"new")
    assert store.get("a/k") == b"old"
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_failing_disk_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error is an UnavailableError that names the path."""
    store = DirectoryStore(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(UnavailableError, match=r"k: Input/output error; the write did not happen"):
        store.put("k", b"1")


def test_a_full_disk_during_download_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloading onto a full disk is an UnavailableError that names the file, and leaves no part of it."""
    store = DirectoryStore(tmp_path / "store")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "weights").write_bytes(b"w" * 1000)
    store.upload("set", tmp_path / "set")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(UnavailableError, match=f"{tmp_path}/back/.weights.partial: No space left"):
        store.download("set", tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_key_below_another_is_a_conflict(tmp_path: Path) -> None:
    """A directory cannot hold both `a` and `a/b`; the second is refused with what to do."""
    store = DirectoryStore(tmp_path)
    store.put("a", b"1")
    with pytest.raises(ConflictError, match=r"'a/b'.*rename it"):
        store.put("a/b", b"2")
    store.put("c/d", b"3")
    with pytest.raises(ConflictError, match="'c'"):
        store.put("c", b"4")
    assert list(store.list("")) == ["a", "c/d"]


def test_the_store_s_own_folder_is_not_a_key(tmp_path: Path) -> None:
    """Nobody writes among the unfinished files, and they are never listed."""
    store = DirectoryStore(tmp_path)
    (tmp_path / ".incoming" / "half").write_bytes(b"h")
    with pytest.raises(InvalidInputError, match=r"\.incoming"):
        store.put(".incoming/x", b"")
    assert list(store.list("")) == []
    assert list(store.list(".inc")) == []


def test_what_killed_writers_left_is_swept_after_a_day(tmp_path: Path) -> None:
    """Opening removes unfinished files a day old, and leaves those another process may be writing."""
    store = DirectoryStore(tmp_path)
    store.put("k", b"1")
    old, fresh = tmp_path / ".incoming" / "old", tmp_path / ".incoming" / "fresh"
    for path in (old, fresh):
        path.write_bytes(b"x")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(tmp_path / "k", (two_days_ago, two_days_ago))
    DirectoryStore(tmp_path)
    assert (old.exists(), fresh.exists(), store.exists("k")) == (False, True, True)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A path taken by a file is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match=f"{tmp_path}/file cannot be used as a directory"):
        DirectoryStore(tmp_path / "file")


def test_links_are_uploaded_as_what_they_point_to(tmp_path: Path) -> None:
    """A folder whose files are links (as model caches have) is stored with their contents."""
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to(tmp_path / "blob")
    store = DirectoryStore(tmp_path / "store")
    store.upload("m", tmp_path / "model")
    assert not (tmp_path / "store" / "m" / "model.safetensors").is_symlink()
    assert store.get("m/model.safetensors") == b"weights"
