"""Shared memory between a child and the process that watches it: which item the child is at, and where it must stop.

Two unsigned 32-bit numbers in a memory map: `started` (written by the child: items of its chunk begun, so the one in
hand is `started - 1`) and `limit` (written by the watcher: items that may be begun).
A race costs one item graded twice.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from typing import BinaryIO, cast

_NUMBER = struct.Struct("=I")
_STARTED, _LIMIT, _SIZE = 0, 8, 16
NO_LIMIT = 0xFFFFFFFF


class Progress:
    """The map of the open file descriptor `fileno`."""

    def __init__(self, fileno: int) -> None:
        self._map = mmap.mmap(fileno, _SIZE)

    @property
    def started(self) -> int:
        """Items of the chunk begun."""
        return cast("int", _NUMBER.unpack_from(self._map, _STARTED)[0])

    @started.setter
    def started(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _STARTED, value)

    @property
    def limit(self) -> int:
        """Items of the chunk that may be begun."""
        return cast("int", _NUMBER.unpack_from(self._map, _LIMIT)[0])

    @limit.setter
    def limit(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _LIMIT, value)

    def close(self) -> None:
        """Gives the map back."""
        self._map.close()


def progress_file() -> BinaryIO:
    """A nameless file for a map, all zero."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    file.truncate(_SIZE)
    return cast("BinaryIO", file)
