"""Images as one file that `ctr images import`, `docker load` and `skopeo copy` read: an OCI layout in a tar."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.images.layers import Layer

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_BEGINNING = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Image:
    """An image ready to be written. `name` has its tag; the layers lie in their order, the lowest first."""

    name: str
    config: Mapping[str, Any]
    layers: Sequence[Layer]

    @functools.cached_property
    def described(self) -> bytes:
        """The image's configuration."""
        diffs = {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]}
        about = {"created": _BEGINNING, "architecture": "amd64", "os": "linux"}
        return _json({**about, "config": dict(self.config), "rootfs": diffs})

    @functools.cached_property
    def manifest(self) -> bytes:
        """What the image consists of."""
        layers = [{"mediaType": _LAYER, "digest": each.digest, "size": each.num_bytes} for each in self.layers]
        config = _described(_CONFIG, self.described)
        return _json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers})

    @property
    def digest(self) -> str:
        """Of the manifest: what a registry calls the image."""
        return _digest(self.manifest)

    @property
    def num_bytes(self) -> int:
        """The sum of its layers, which are not compressed."""
        return sum(each.num_bytes for each in self.layers)


def write(images: Sequence[Image], path: Path) -> None:
    """Writes `images` to `path`, each layer once. Same images, same bytes."""
    blobs = {_digest(blob): blob for image in images for blob in (image.described, image.manifest)}
    layers = {layer.digest: layer for image in images for layer in image.layers}
    beside = path.with_suffix(f".{os.getpid()}")
    with tarfile.open(beside, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json({"schemaVersion": 2, "manifests": [_entry(image) for image in images]}))
        for digest in sorted(blobs):
            _add(tar, _place(digest), blobs[digest])
        for digest in sorted(layers):
            _add_file(tar, _place(digest), layers[digest])
    beside.rename(path)


def _entry(image: Image) -> dict[str, Any]:
    """Its line in the index."""
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name.rpartition(":")[2]}
    platform = {"os": "linux", "architecture": "amd64"}
    return {**_described(_MANIFEST, image.manifest), "platform": platform, "annotations": names}


def _described(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _add(tar: tarfile.TarFile, name: str, blob: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(blob)
    tar.addfile(info, io.BytesIO(blob))


def _add_file(tar: tarfile.TarFile, name: str, layer: Layer) -> None:
    info = tarfile.TarInfo(name)
    info.size = layer.num_bytes
    with layer.path.open("rb") as file:
        tar.addfile(info, file)
