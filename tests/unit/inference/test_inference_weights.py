from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import DataLossError, InvalidInputError
from services.inference.fitting import check_fits, tensor_shapes
from services.inference.weights import Cache, Checkpoints, Served, folder_of, in_folder
from tests.unit.inference.fakes_inference import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from retrograde.runtime.objects import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path / 'store'}")


def _checkpoints(store: ObjectStore, tmp_path: Path, keep: int = 2, keep_bytes: int = 1 << 30) -> Checkpoints:
    model = tmp_path / "model"
    if not model.exists():
        write_checkpoint(model)
    return Checkpoints(store, "policy", model, Cache(tmp_path / "cache", keep, keep_bytes))


class ReplacingStore:
    """A store in which, before the first download, another set takes the place of the one under `key`."""

    def __init__(self, store: ObjectStore, key: str, second: Path) -> None:
        self._store, self._key, self._second = store, key, second
        self.get, self.put = store.get, store.put
        self._is_replaced = False

    def download(self, prefix: str, folder: Path) -> None:
        if not self._is_replaced:
            self._store.upload(self._key, self._second)
            self._is_replaced = True
        self._store.download(prefix, folder)


class CrowdedStore:
    """A store during whose first download another replica leaves half of the same checkpoint in the cache."""

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store, self._folder = store, folder
        self.get, self.put = store.get, store.put
        self._is_crowded = False

    def download(self, prefix: str, folder: Path) -> None:
        self._store.download(prefix, folder)
        if not self._is_crowded:
            self._is_crowded = True
            self._folder.mkdir()
            (self._folder / "config.json").write_text("{}")


def _publish(store: ObjectStore, tmp_path: Path, name: str, fill: float) -> str:
    store.upload(f"checkpoints/{name}", write_checkpoint(tmp_path / name, fill))
    return f"checkpoints/{name}"


def test_a_fetched_checkpoint_is_the_published_one(store: ObjectStore, tmp_path: Path) -> None:
    """Fetching brings the files as they were uploaded."""
    key = _publish(store, tmp_path, "a", 1.0)
    folder = folder_of(_checkpoints(store, tmp_path).prepare(key))
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()


def test_a_checkpoint_is_downloaded_once(store: ObjectStore, tmp_path: Path) -> None:
    """A second fetch of the same content finds the folder of the first, though its data has left the store."""
    key = _publish(store, tmp_path, "a", 1.0)
    checkpoints = _checkpoints(store, tmp_path)
    first = checkpoints.prepare(key)
    store.delete(f"{key}/model.safetensors")
    assert checkpoints.prepare(key) == first


@pytest.mark.parametrize("name", ["model.safetensors", "MANIFEST.json"])
def test_a_cached_checkpoint_that_was_damaged_is_fetched_again(store: ObjectStore, tmp_path: Path, name: str) -> None:
    """One flipped byte in the cache is found before anything is loaded, and mended from the store."""
    key = _publish(store, tmp_path, "a", 1.0)
    checkpoints = _checkpoints(store, tmp_path)
    file = folder_of(checkpoints.prepare(key)) / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert (folder_of(checkpoints.prepare(key)) / name).read_bytes() == whole


def test_a_checkpoint_replaced_while_it_is_fetched_is_fetched_anew(store: ObjectStore, tmp_path: Path) -> None:
    """Files of the second set are never taken for the first: the digest is that of what was brought."""
    key = _publish(store, tmp_path, "a", 1.0)
    second = write_checkpoint(tmp_path / "b", 2.0)
    weights = _checkpoints(ReplacingStore(store, key, second), tmp_path).prepare(key)
    assert weights == _checkpoints(store, tmp_path).prepare(key)
    assert (folder_of(weights) / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_half_a_checkpoint_is_never_taken_for_a_whole_one(store: ObjectStore, tmp_path: Path) -> None:
    """A folder of the same name that turns up while a set is fetched is checked before it is used."""
    key = _publish(store, tmp_path, "a", 1.0)
    folder = folder_of(_checkpoints(store, tmp_path).prepare(key))
    shutil.rmtree(folder)
    assert folder_of(_checkpoints(CrowdedStore(store, folder), tmp_path).prepare(key)) == folder
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()


def test_what_a_killed_process_left_half_fetched_is_swept(store: ObjectStore, tmp_path: Path) -> None:
    """A start deletes folders of downloads that nobody holds any more, and no other."""
    checkpoints = _checkpoints(store, tmp_path)
    left, running = (tmp_path / "cache" / "policy" / f".incoming-{name}" for name in ("left", "running"))
    for folder in (left, running):
        (folder / "checkpoint").mkdir(parents=True)
    descriptor = os.open(running, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        checkpoints.start()
    finally:
        os.close(descriptor)
    assert [left.exists(), running.exists()] == [False, True]


def test_other_content_under_the_same_key_is_another_checkpoint(store: ObjectStore, tmp_path: Path) -> None:
    """The digest follows the content, not the key."""
    checkpoints = _checkpoints(store, tmp_path)
    key = _publish(store, tmp_path, "a", 1.0)
    first = checkpoints.prepare(key)
    store.upload(key, write_checkpoint(tmp_path / "other", 2.0))
    second = checkpoints.prepare(key)
    assert first.digest != second.digest
    assert (folder_of(second) / "model.safetensors").read_bytes() == (
        tmp_path / "other" / "model.safetensors"
    ).read_bytes()


def test_a_failed_download_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    """When an object is missing the cache holds no folder that a later fetch could take for whole."""
    key = _publish(store, tmp_path, "a", 1.0)
    store.delete(f"{key}/model.safetensors")
    with pytest.raises(DataLossError, match=r"model\.safetensors"):
        _checkpoints(store, tmp_path).prepare(key)
    assert list((tmp_path / "cache" / "policy").iterdir()) == []


def test_an_unknown_key_is_named(store: ObjectStore, tmp_path: Path) -> None:
    """A key without a manifest is the caller's mistake."""
    with pytest.raises(InvalidInputError, match=r"^checkpoint_key: .*'checkpoints/none'"):
        _checkpoints(store, tmp_path).prepare("checkpoints/none")


def test_what_is_served_is_remembered(store: ObjectStore, tmp_path: Path) -> None:
    """The last publication is read back; before the first there is none."""
    checkpoints = _checkpoints(store, tmp_path)
    assert checkpoints.last() is None
    checkpoints.publish(Served("checkpoints/a", 3, "d1"))
    checkpoints.publish(Served("checkpoints/b", 4, "d2"))
    assert _checkpoints(store, tmp_path).last() == Served("checkpoints/b", 4, "d2")


def test_what_is_remembered_never_grows_older(store: ObjectStore, tmp_path: Path) -> None:
    """A replica that is late with an older version does not take the place of a newer one."""
    checkpoints = _checkpoints(store, tmp_path)
    checkpoints.publish(Served("checkpoints/b", 4, "d2"))
    checkpoints.publish(Served("checkpoints/a", 3, "d1"))
    assert checkpoints.last() == Served("checkpoints/b", 4, "d2")


def test_a_record_of_the_settings_checkpoint_serves_it(store: ObjectStore, tmp_path: Path) -> None:
    """It has no digest and lies in no cache: it is version 1 again, and what the cache holds is left alone."""
    checkpoints = _checkpoints(store, tmp_path)
    fetched = folder_of(checkpoints.prepare(_publish(store, tmp_path, "a", 1.0)))
    first = Served(str(tmp_path / "model"), 1, "")
    checkpoints.publish(first)
    assert checkpoints.start() == (first, in_folder(tmp_path / "model"))
    assert fetched.is_dir()


def test_replicas_may_bound_one_cache_at_the_same_time(store: ObjectStore, tmp_path: Path) -> None:
    """What others delete first is no failure, and in the end each served checkpoint alone is there."""
    checkpoints = _checkpoints(store, tmp_path, keep=1)
    served = checkpoints.prepare(_publish(store, tmp_path, "a", 1.0))
    cache = folder_of(served).parent
    for number in range(50):
        write_checkpoint(cache / f"old{number}")
    replicas = 8
    start = threading.Barrier(replicas, timeout=30)

    def settle(_: int) -> None:
        start.wait()
        checkpoints.settle(served)

    with ThreadPoolExecutor(replicas) as pool:
        list(pool.map(settle, range(replicas)))
    assert list(cache.iterdir()) == [folder_of(served)]


def test_a_replica_deletes_nothing_that_another_may_load(store: ObjectStore, tmp_path: Path) -> None:
    """In a cache that is too small for both, what one serves, or has prepared, stays until it serves another."""
    ours, theirs = (_checkpoints(store, tmp_path, keep=1) for _ in range(2))
    a, b, c = (_publish(store, tmp_path, name, index) for index, name in enumerate("abc"))
    served, prepared = theirs.prepare(a), theirs.prepare(b)
    mine = ours.prepare(c)
    ours.settle(mine)
    assert [folder_of(each).exists() for each in (served, prepared, mine)] == [True, True, True]
    theirs.settle(prepared)
    assert [folder_of(each).exists() for each in (served, prepared, mine)] == [False, True, True]


@pytest.mark.parametrize(("keep", "keep_bytes"), [(2, 1 << 30), (9, 1000)], ids=["by number", "by size"])
def test_the_cache_is_bounded(store: ObjectStore, tmp_path: Path, keep: int, keep_bytes: int) -> None:
    """Beyond the bound the folders used longest ago go; the served one stays whatever its age."""
    checkpoints = _checkpoints(store, tmp_path, keep, keep_bytes)
    kept = [checkpoints.prepare(_publish(store, tmp_path, name, index)) for index, name in enumerate("abcd")]
    folders = [folder_of(each) for each in kept]
    for age, folder in enumerate(reversed(folders)):
        os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    checkpoints.settle(kept[0])
    assert [folder.exists() for folder in folders] == [True, False, False, True]


def test_shapes_are_read_from_headers(tmp_path: Path) -> None:
    """The names and shapes of a safetensors file are known without reading its data."""
    assert tensor_shapes(write_checkpoint(tmp_path / "a")) == {"w": [2, 3]}


def test_a_checkpoint_of_another_shape_does_not_fit(tmp_path: Path) -> None:
    """The refusal names the tensor and both shapes."""
    served, other = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b", shape=(3, 2))
    with pytest.raises(InvalidInputError, match=r"tensor w has shape \[3, 2\], the served model \[2, 3\]"):
        check_fits(other, served)


def test_a_file_that_is_not_safetensors_does_not_fit(tmp_path: Path) -> None:
    """A truncated or foreign file is named."""
    served, other = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    (other / "model.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(InvalidInputError, match=r"model\.safetensors is not a safetensors file"):
        check_fits(other, served)


def test_a_checkpoint_without_config_does_not_fit(tmp_path: Path) -> None:
    """A folder that vLLM could not open again after a restart is refused."""
    served, other = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    (other / "config.json").unlink()
    with pytest.raises(InvalidInputError, match=r"config\.json is missing"):
        check_fits(other, served)


@pytest.mark.parametrize(("name", "ours", "theirs"), [("rope_theta", 1e4, 1e6), ("num_attention_heads", 4, 8)])
def test_a_checkpoint_with_another_forward_pass_does_not_fit(
    tmp_path: Path, name: str, ours: float, theirs: float
) -> None:
    """Equal shapes are not enough: what else decides the answers must be equal, and is named."""
    served = write_checkpoint(tmp_path / "a", config=json.dumps({name: ours, "use_cache": True}))
    other = write_checkpoint(tmp_path / "b", config=json.dumps({name: theirs, "use_cache": False}))
    with pytest.raises(InvalidInputError, match=rf"config\.json says {name} {theirs!r}, the served model {ours!r}"):
        check_fits(other, served)
