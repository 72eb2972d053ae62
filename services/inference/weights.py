"""Checkpoints on this machine: fetched from the store, checked, remembered, bounded.

prepare(key)      manifest -> cache folder named by the manifest's digest (downloaded once, whole or not at all)
publish / last    `inference/<model name>/current.json` in the store: what a restarted service serves again
settle            the oldest folders go when there are too many or they are too big, but none that a replica may load

Files go from the store to the disk as they come; a checkpoint is never in memory whole. Each is compared with the
SHA-256 of its manifest on the way, and again when it is taken from the cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.logs import get_logger
from services.inference.fitting import check_fits
from services.inference.in_use import InUse
from services.inference.transport import Weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrograde.runtime.objects import ObjectStore

_MANIFEST = "MANIFEST.json"
_INCOMING = ".incoming-"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A checkpoint under a policy version; `digest` identifies its content ("" for the one of the settings)."""

    checkpoint_key: str
    policy_version: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """Where checkpoints are kept on this machine, and how many and how much of them at most."""

    folder: Path
    keep: int
    keep_bytes: int


def in_folder(folder: Path, digest: str = "") -> Weights:
    """The weights of a Hugging Face directory."""
    return Weights(digest, "load_folder", (str(folder),))


def folder_of(weights: Weights) -> Path:
    """Where weights of `in_folder` lie."""
    return Path(weights.args[0])


class Checkpoints:
    """Those of one served model, all of the shape of `model`. Calls block: run them in a thread."""

    def __init__(self, store: ObjectStore, model_name: str, model: Path, cache: Cache) -> None:
        self._store = store
        self._current_key = f"inference/{model_name}/current.json"
        self._model = model
        self._cache = cache.folder / model_name
        self._keep = cache.keep
        self._keep_bytes = cache.keep_bytes
        self._in_use = InUse()

    def last(self) -> Served | None:
        """What was published last, or None."""
        try:
            return Served(**json.loads(self._store.get(self._current_key)))
        except NotFoundError:
            return None

    def publish(self, served: Served) -> None:
        """Remembers `served` for a restart, unless another replica has published a newer version."""
        last = self.last()
        if last is None or last.policy_version <= served.policy_version:
            self._store.put(self._current_key, json.dumps(asdict(served)).encode())

    def start(self) -> tuple[Served, Weights]:
        """What to serve first: what was published last, else the model itself as version 1.

        When the cache has lost it and its key has other content by now, that is served, as a version of its own.
        """
        self._sweep()
        last = self.last()
        if last is None or not last.digest:
            return Served(str(self._model), 1), in_folder(self._model)
        if self._is_whole(last.digest):
            check_fits(self._cache / last.digest, self._model)
            return last, in_folder(self._cache / last.digest, last.digest)
        weights = self.prepare(last.checkpoint_key)
        if weights.digest != last.digest:
            last = Served(last.checkpoint_key, last.policy_version + 1, weights.digest)
            self.publish(last)
        return last, weights

    def prepare(self, key: str) -> Weights:
        """See transport.WeightTransport. Downloads unless the cache has the very content."""
        while True:
            manifest = self._manifest(key)
            digest = hashlib.sha256(manifest).hexdigest()[:32]
            weights = in_folder(self._cache / digest, digest)
            if self._is_whole(digest) or self._downloaded(key, manifest, folder_of(weights)):
                check_fits(folder_of(weights), self._model)
                return weights

    def _manifest(self, key: str) -> bytes:
        try:
            return self._store.get(f"{key}/{_MANIFEST}")
        except NotFoundError:
            raise InvalidInputError(
                f"checkpoint_key: no checkpoint is published under {key!r}; upload it to the store first"
            ) from None

    def _is_whole(self, digest: str) -> bool:
        """Whether the cache has this checkpoint and each of its files is the one that was published."""
        folder = self._cache / digest
        if not self._in_use.hold(folder, digest):
            return False
        with contextlib.suppress(FileNotFoundError):  # another replica found it damaged
            os.utime(folder)  # the youngest: deleted last
        if _agrees(folder, digest):
            return True
        log.warning("cached checkpoint damaged; fetching it again", folder=str(folder))
        with contextlib.suppress(FileNotFoundError):  # another replica deletes it too
            shutil.rmtree(folder)
        return False

    def _downloaded(self, key: str, manifest: bytes, folder: Path) -> bool:
        """Brings the set to `folder`; False when another took its place in the store, or in the cache, meanwhile."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_INCOMING, dir=self._cache) as incoming, _held(Path(incoming)):
            whole = Path(incoming) / "checkpoint"
            self._store.download(key, whole)
            if self._manifest(key) != manifest:
                return False
            (whole / _MANIFEST).write_bytes(manifest)
            self._in_use.hold(whole, folder.name)
            return _place(whole, folder)

    def _sweep(self) -> None:
        """Deletes what processes that were killed had half downloaded."""
        for incoming in self._cache.glob(f"{_INCOMING}*"):
            with contextlib.suppress(OSError), _held(incoming):
                shutil.rmtree(incoming)

    def settle(self, weights: Weights) -> None:
        """See transport.WeightTransport. Deletes the folders used longest ago beyond the bounds; never the served.

        Replicas that share the folder may do so at the same time; what one of them serves or has prepared stays.
        """
        served = folder_of(weights)
        self._in_use.keep_only(served.name)
        folders = sorted(
            (each for each in self._cache.glob("*") if each.is_dir() and each != served and each.name[0] != "."),
            key=_last_used,
            reverse=True,
        )
        room = self._keep_bytes - (_size(served) if served.parent == self._cache else 0)
        for index, folder in enumerate(folders, start=2):
            room -= _size(folder)
            if index > self._keep or room < 0:
                with contextlib.suppress(FileNotFoundError, BlockingIOError), _held(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _place(whole: Path, folder: Path) -> bool:
    """Gives a checkpoint its name; False when a replica on this machine was first, and perhaps left half of one."""
    try:
        whole.replace(folder)
    except OSError:
        if not folder.is_dir():
            raise
        return False
    return True


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds a lock on `folder` that ends with the process. Raises BlockingIOError when another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _agrees(folder: Path, digest: str) -> bool:
    """Whether the manifest in `folder` has this digest, and each file the manifest's SHA-256."""
    try:
        manifest = (folder / _MANIFEST).read_bytes()
        if hashlib.sha256(manifest).hexdigest()[:32] != digest:
            return False
        return all(_sha256(folder / each["name"]) == each["sha256"] for each in json.loads(manifest)["files"])
    except FileNotFoundError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _last_used(folder: Path) -> float:
    """Seconds since the epoch; 0 when it is gone."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(folder: Path) -> int:
    """Bytes of the files in `folder`; 0 when any of them is gone."""
    try:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    except FileNotFoundError:
        return 0
