"""What every adapter of the ObjectStore port promises; see conftest for how an adapter joins."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.errors import DataLossError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract_child import Child

    from retrograde.runtime.objects import ObjectStore

ALL_BYTES = bytes(range(256))


def folder_of(parent: Path, files: dict[str, bytes]) -> Path:
    """A new folder below `parent` that holds `files`."""
    folder = parent / f"folder-{len(list(parent.iterdir()))}"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data", [b"", ALL_BYTES, b"x" * 5_000_000], ids=["empty", "all bytes", "5 MB"])
def test_what_is_put_is_got(store: ObjectStore, data: bytes) -> None:
    """An object's bytes come back as they were."""
    store.put("runs/r1/trees/p.pb", data)
    assert store.get("runs/r1/trees/p.pb") == data


def test_the_last_writer_wins(store: ObjectStore) -> None:
    """A second put under a key replaces the first."""
    store.put("k", b"one")
    store.put("k", b"two")
    assert store.get("k") == b"two"


def test_keys_may_hold_any_letters(store: ObjectStore) -> None:
    """Spaces, dots, accents and percent signs are letters like others."""
    keys = ["ü/ö ß.pb", "a b/c%20d", "..x/y..", "@#+=,"]
    for key in keys:
        store.put(key, key.encode())
    assert [store.get(key).decode() for key in keys] == keys
    assert list(store.list("")) == sorted(keys)


@pytest.mark.parametrize("key", ["missing", "a", "a/b/c"])
def test_getting_what_is_not_there(store: ObjectStore, key: str) -> None:
    """A missing key is a NotFoundError that names it, also when it is the folder or the child of another."""
    store.put("a/b", b"")
    assert not store.exists(key)
    with pytest.raises(NotFoundError, match=key):
        store.get(key)


def test_deleting(store: ObjectStore) -> None:
    """Delete removes the object and nothing else; a missing key is fine."""
    store.put("a/b", b"")
    store.put("a/c", b"")
    store.delete("a/b")
    store.delete("a/b")
    store.delete("a")
    assert (store.exists("a/b"), store.exists("a/c")) == (False, True)


def test_listing_is_by_prefix_and_sorted(store: ObjectStore) -> None:
    """A prefix is text, not a folder; keys come in the order of their bytes."""
    for key in ["a/b/2", "a-b", "a/b/10", "a/bc", "b", "a/b.pb"]:
        store.put(key, b"")
    assert list(store.list("")) == ["a-b", "a/b.pb", "a/b/10", "a/b/2", "a/bc", "b"]
    assert list(store.list("a/b")) == ["a/b.pb", "a/b/10", "a/b/2", "a/bc"]
    assert list(store.list("a/b/")) == ["a/b/10", "a/b/2"]
    assert list(store.list("zzz/y")) == []


@pytest.mark.parametrize(
    "key", ["", "/abs", "a//b", "a/", "../x", "a/../../x", "a/./b", "..", "nul\0", "line\n", "x" * 1025, "é" * 600]
)
@pytest.mark.parametrize("call", ["get", "put", "exists", "delete"])
def test_a_key_that_could_leave_the_store_is_refused(store: ObjectStore, call: str, key: str) -> None:
    """Absolute, dotted, empty and overlong keys are InvalidInputErrors in every call, before anything is touched."""
    with pytest.raises(InvalidInputError, match="key"):
        getattr(store, call)(*([key, b""] if call == "put" else [key]))


def test_a_folder_comes_back_as_it_was(store: ObjectStore, tmp_path: Path) -> None:
    """Upload and download keep names and bytes, folders within folders and empty files included."""
    files = {"config.json": b"{}", "deep/er/weights": ALL_BYTES * 1000, "empty": b"", ".hidden": b"h"}
    store.upload("runs/r/checkpoints/astro/", folder_of(tmp_path, files))
    store.download("runs/r/checkpoints/astro", tmp_path / "back")
    assert files_of(tmp_path / "back") == files


def test_an_uploaded_file_is_an_object_of_its_own(store: ObjectStore, tmp_path: Path) -> None:
    """Each file lies under prefix/name, and the manifest says name, size and sha256 of each."""
    store.upload("set", folder_of(tmp_path, {"a/b": b"text"}))
    assert list(store.list("set")) == ["set/MANIFEST.json", "set/a/b"]
    assert store.get("set/a/b") == b"text"
    assert json.loads(store.get("set/MANIFEST.json")) == {
        "files": [{"name": "a/b", "size": 4, "sha256": hashlib.sha256(b"text").hexdigest()}]
    }


def test_without_a_manifest_there_is_no_set(store: ObjectStore, tmp_path: Path) -> None:
    """Objects whose manifest was never written are not a set yet."""
    store.put("set/part-0", b"early")
    with pytest.raises(NotFoundError, match="MANIFEST"):
        store.download("set", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_set_is_not_handed_out(store: ObjectStore, tmp_path: Path, damage: str) -> None:
    """An object that is not what its manifest says is a DataLossError, and leaves no file under its name."""
    store.upload("set", folder_of(tmp_path, {"part": b"right"}))
    if damage == "changed":
        store.put("set/part", b"wrong")
    else:
        store.delete("set/part")
    with pytest.raises(DataLossError, match="set/part"):
        store.download("set", tmp_path / "back")
    assert files_of(tmp_path / "back") == {}


@pytest.mark.parametrize("name", ["../escape", "/etc/escape", "a/../../escape"])
def test_a_manifest_cannot_write_outside_the_folder(store: ObjectStore, tmp_path: Path, name: str) -> None:
    """A manifest naming a path outside is refused whole."""
    manifest = {"files": [{"name": name, "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}]}
    store.put("set/MANIFEST.json", json.dumps(manifest).encode())
    with pytest.raises(DataLossError, match="escape"):
        store.download("set", tmp_path / "back")
    assert not (tmp_path / "escape").exists()


def test_another_set_replaces_the_first(store: ObjectStore, tmp_path: Path) -> None:
    """After a second upload, download brings the second set and no file of the first."""
    store.upload("set", folder_of(tmp_path, {"old": b"1", "both": b"1"}))
    store.upload("set", folder_of(tmp_path, {"both": b"2"}))
    store.download("set", tmp_path / "back")
    assert files_of(tmp_path / "back") == {"both": b"2"}


def test_uploading_the_same_again_repairs(store: ObjectStore, tmp_path: Path) -> None:
    """What a DataLossError advises helps: an equal set uploaded again replaces the damaged object."""
    folder = folder_of(tmp_path, {"part": b"right"})
    store.upload("set", folder)
    store.put("set/part", b"wrong")
    store.upload("set", folder)
    store.download("set", tmp_path / "back")
    assert files_of(tmp_path / "back") == {"part": b"right"}


@pytest.mark.parametrize("files", [{}, {"MANIFEST.json": b"mine"}], ids=["empty", "manifest"])
def test_a_folder_that_is_no_set_is_refused(store: ObjectStore, tmp_path: Path, files: dict[str, bytes]) -> None:
    """A missing or empty folder and one with its own MANIFEST.json are InvalidInputErrors."""
    with pytest.raises(InvalidInputError):
        store.upload("set", folder_of(tmp_path, files))


def test_readers_see_whole_objects_while_several_processes_write(
    store: ObjectStore, store_url: str, spawn: Callable[..., Child], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    """Two processes write one key over and over: each read is all of one writer's bytes."""
    writers = [spawn("put", store_url, "k", letter, "300000") for letter in "ab"]
    for writer in writers:
        assert writer.line() == "put"
    seen: Counter[bytes] = Counter()

    def look() -> bool:
        data = store.get("k")
        assert data == data[:1] * 300_000
        seen[data[:1]] += 1
        return min(seen[b"a"], seen[b"b"]) >= 20

    eventually(look)


def test_a_killed_writer_leaves_the_old_object_or_the_new(
    store: ObjectStore, store_url: str, spawn: Callable[..., Child]
) -> None:
    """Kill -9 at moments all over a put: the object is whole each time, and nothing half-written is listed."""
    store.put("k", b"o" * 4_000_000)
    for delay in (0.0, 0.003, 0.007, 0.013):
        writer = spawn("put", store_url, "k", "n", "4000000")
        assert writer.line() == "put"
        time.sleep(delay)
        writer.kill()
        assert store.get("k") == b"n" * 4_000_000
        assert list(store.list("")) == ["k"]
        store.put("k", b"o" * 4_000_000)


def test_a_killed_upload_leaves_a_whole_set_or_none(
    store: ObjectStore, store_url: str, tmp_path: Path, spawn: Callable[..., Child]
) -> None:
    """Kill -9 during upload after upload: what can be downloaded is one set with its checksums right."""
    outcomes = []
    for attempt, delay in enumerate((0.0, 0.004, 0.009, 0.02)):
        writer = spawn("upload", store_url, "set", "3", "200000")
        assert writer.line() == "0"
        time.sleep(delay)
        writer.kill()
        back = tmp_path / f"back-{attempt}"
        try:
            store.download("set", back)
        except NotFoundError:
            outcomes.append("none")
        else:
            outcomes.append("whole")
            assert len(set(files_of(back).values())) == 1
    assert len(outcomes) == 4
