"""A layer of an image: paths and what is at each, written as a tar that depends on nothing else.

Every entry belongs to root, has time 0 and comes in the order of its path; folders that are not named are made. The
same entries are the same bytes, on whatever machine and whenever.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a link where `target` is given, or a folder where neither is."""

    data: bytes | Path | None = None
    target: str = ""
    mode: int = 0o644


Entries = Mapping[str, Entry]
"""By path below the root, without a leading slash."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A tar on disk. `num_bytes` is what its files take."""

    path: Path
    digest: str
    num_bytes: int


def folder(root: Path, below: str, skip: Iterable[str] = ()) -> dict[str, Entry]:
    """What is in `root`, to be at `below`; parts of paths that are in `skip` are left out."""
    left_out = {"__pycache__", *skip}
    found: dict[str, Entry] = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if left_out.isdisjoint(relative.parts) and not path.is_dir():
            found[f"{below}/{relative}"] = _of_file(path)
    return found


def _of_file(path: Path) -> Entry:
    if path.is_symlink():
        return Entry(target=str(path.readlink()), mode=0o777)
    return Entry(data=path, mode=0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def write(entries: Entries, path: Path) -> Layer:
    """The layer of `entries`, as a tar at `path`."""
    whole = _with_parents(entries)
    beside = path.with_suffix(f".{os.getpid()}")
    with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(whole):
            _add(tar, name, whole[name])
    beside.rename(path)
    return Layer(path, digest_of(path), path.stat().st_size)


def digest_of(path: Path) -> str:
    """`sha256:...` of a file."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _with_parents(entries: Entries) -> dict[str, Entry]:
    parents = {str(parent) for name in entries for parent in PurePosixPath(name).parents if parent.name}
    return {parent: Entry(mode=0o755) for parent in parents} | dict(entries)


def _add(tar: tarfile.TarFile, name: str, entry: Entry) -> None:
    info = tarfile.TarInfo(name)
    info.mode = entry.mode
    if entry.target:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
        tar.addfile(info)
    elif entry.data is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        data = entry.data.read_bytes() if isinstance(entry.data, Path) else entry.data
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
