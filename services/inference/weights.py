"""Checkpoints on this machine: fetched from the store, checked against what is served, remembered, bounded.

fetch(key)        manifest -> cache folder named by the manifest's digest (downloaded once, whole or not at all)
check_fits        a checkpoint may replace another only if its tensors have the same names and shapes
publish / last    `inference/<model name>/current.json` in the store: what a restarted service serves again
evict             the oldest folders go when there are too many or they are too big
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrograde.runtime.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from retrograde.runtime.objects import ObjectStore

_LONGEST_HEADER_BYTES = 100 * 1024 * 1024
_OPTIONAL_TENSORS = {"lm_head.weight"}  # written or left out when tied to the embedding


@dataclass(frozen=True, slots=True)
class Served:
    """A checkpoint under a policy version; `digest` identifies its content ("" for the one of the settings)."""

    checkpoint_key: str
    policy_version: int
    digest: str = ""


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Name -> shape of every tensor of the safetensors files in `folder`, read from their headers only.

    Raises:
        InvalidInputError: no such file, or one that is not safetensors.
    """
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= {name: entry["shape"] for name, entry in _header(file).items() if name != "__metadata__"}
    if not shapes:
        raise InvalidInputError(f"checkpoint: {folder} holds no *.safetensors; publish a Hugging Face directory")
    return shapes


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    """The JSON header of a safetensors file: 8 bytes little-endian length, then the text."""
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == struct.calcsize("<Q") else 0
        text = stream.read(length) if 0 < length <= _LONGEST_HEADER_BYTES else b""
    try:
        header: dict[str, dict[str, list[int]]] = json.loads(text)
    except ValueError:
        raise InvalidInputError(f"checkpoint: {file.name} is not a safetensors file; write it again") from None
    return header


def check_fits(new: Path, served: Path) -> None:
    """Raises InvalidInputError, naming the first tensor that differs, unless `new` can replace `served` in place."""
    if not (new / "config.json").is_file():
        raise InvalidInputError("checkpoint: config.json is missing; publish a whole Hugging Face directory")
    ours, theirs = tensor_shapes(served), tensor_shapes(new)
    for name in sorted((ours.keys() ^ theirs.keys()) - _OPTIONAL_TENSORS):
        where = "missing" if name in ours else "not in the served model"
        raise InvalidInputError(f"checkpoint: tensor {name} is {where}; publish a checkpoint of the same model")
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            raise InvalidInputError(
                f"checkpoint: tensor {name} has shape {theirs[name]}, the served model {ours[name]}; "
                "publish a checkpoint of the same model"
            )


class Checkpoints:
    """The checkpoints of one served model. All calls block: run them in a thread."""

    def __init__(self, store: ObjectStore, model_name: str, cache: Path, *, keep: int, keep_bytes: int) -> None:
        self._store = store
        self._current_key = f"inference/{model_name}/current.json"
        self._cache = cache / model_name
        self._keep = keep
        self._keep_bytes = keep_bytes

    def last(self) -> Served | None:
        """What was published last, or None."""
        try:
            return Served(**json.loads(self._store.get(self._current_key)))
        except NotFoundError:
            return None

    def publish(self, served: Served) -> None:
        """Remembers `served` for a restart."""
        self._store.put(self._current_key, json.dumps(asdict(served)).encode())

    def digest(self, key: str) -> str:
        """Identifies the content published under `key`. Raises InvalidInputError when there is none."""
        try:
            manifest = self._store.get(f"{key}/MANIFEST.json")
        except NotFoundError:
            raise InvalidInputError(
                f"checkpoint_key: no checkpoint is published under {key!r}; upload it to the store first"
            ) from None
        return hashlib.sha256(manifest).hexdigest()[:32]

    def fetch(self, key: str) -> tuple[Path, str]:
        """(folder with the checkpoint, its digest); downloads it unless it is there already."""
        digest = self.digest(key)
        folder = self._cache / digest
        if folder.is_dir():
            os.utime(folder)
            return folder, digest
        self._cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=self._cache) as incoming:
            whole = Path(incoming) / "checkpoint"
            self._store.download(key, whole)
            whole.replace(folder)
        return folder, digest

    def restore(self, served: Served) -> Path:
        """The folder of what was served before; from the cache even when the store has changed since."""
        folder = self._cache / served.digest
        return folder if folder.is_dir() else self.fetch(served.checkpoint_key)[0]

    def evict(self, served: Path) -> None:
        """Deletes the folders used longest ago beyond the bounds; never `served`."""
        folders = sorted(
            (each for each in self._cache.glob("*") if each.is_dir() and each != served and each.name[0] != "."),
            key=lambda each: each.stat().st_mtime,
            reverse=True,
        )
        room = self._keep_bytes - (_size(served) if served.parent == self._cache else 0)
        for index, folder in enumerate(folders, start=2):
            room -= _size(folder)
            if index > self._keep or room < 0:
                shutil.rmtree(folder)


def _size(folder: Path) -> int:
    """Bytes of the files in `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
