"""Shared memory between a child and the process that watches it: which item the child is at, and where it must stop.

In a memory map: `started` (written by the child: items of its chunk begun, so the one in hand is `started - 1`),
`limit` (written by the watcher: items that may be begun) and `began` (written by the child: when it began the item in
hand, on the clock that all processes of a machine share). Each is written at once, and `began` before `started`: who
sees an item started sees its time. A race costs one item graded twice.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
import time
from typing import BinaryIO, cast

_NUMBER = struct.Struct("@I")
_TIME = struct.Struct("@d")
_STARTED, _LIMIT, _BEGAN, _SIZE = 0, 8, 16, 24
NO_LIMIT = 0xFFFFFFFF


class Progress:
    """The map of the open file descriptor `fileno`."""

    def __init__(self, fileno: int) -> None:
        self._map = mmap.mmap(fileno, _SIZE)

    @property
    def started(self) -> int:
        """Items of the chunk begun."""
        return cast("int", _NUMBER.unpack_from(self._map, _STARTED)[0])

    @property
    def began(self) -> float:
        """`time.monotonic()` when the item in hand was begun."""
        return cast("float", _TIME.unpack_from(self._map, _BEGAN)[0])

    @property
    def limit(self) -> int:
        """Items of the chunk that may be begun."""
        return cast("int", _NUMBER.unpack_from(self._map, _LIMIT)[0])

    @limit.setter
    def limit(self, value: int) -> None:
        _NUMBER.pack_into(self._map, _LIMIT, value)

    def begin(self, position: int) -> None:
        """The child takes the item at `position` in hand."""
        _TIME.pack_into(self._map, _BEGAN, time.monotonic())
        _NUMBER.pack_into(self._map, _STARTED, position + 1)

    def reset(self) -> None:
        """Nothing is in hand, and all may be begun: before a chunk is sent."""
        _NUMBER.pack_into(self._map, _STARTED, 0)
        self.limit = NO_LIMIT

    def close(self) -> None:
        """Gives the map back."""
        self._map.close()


def progress_file() -> BinaryIO:
    """A nameless file for a map, all zero."""
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    file.truncate(_SIZE)
    return cast("BinaryIO", file)
