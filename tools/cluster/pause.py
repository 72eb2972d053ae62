"""The image of the pods' first process, as an OCI archive: one layer with one static program."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from tools.cluster.node import PAUSE_IMAGE
from tools.cluster.obtain import NODE

_OCI = "application/vnd.oci.image"


def write_pause(archive: Path) -> Path:
    """Writes the archive; the same program gives the same bytes."""
    layer = _tar({"pause": (NODE.folder() / "pause").read_bytes()}, mode=0o755)
    blobs = {_digest(layer): layer}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _blob(blobs, config, f"{_OCI}.config.v1+json"),
        "layers": [_descriptor(layer, f"{_OCI}.layer.v1.tar")],
    }
    named = {"annotations": {"io.containerd.image.name": PAUSE_IMAGE}}
    index = {"schemaVersion": 2, "manifests": [_blob(blobs, manifest, f"{_OCI}.manifest.v1+json") | named]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    files |= {f"blobs/sha256/{digest}": blob for digest, blob in blobs.items()}
    archive.write_bytes(_tar(files, mode=0o644))
    return archive


def _blob(blobs: dict[str, bytes], content: dict[str, Any], media_type: str) -> dict[str, Any]:
    """Puts an object among the blobs; what points at it."""
    blob = json.dumps(content).encode()
    blobs[_digest(blob)] = blob
    return _descriptor(blob, media_type)


def _descriptor(blob: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{_digest(blob)}", "size": len(blob)}


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return written.getvalue()
