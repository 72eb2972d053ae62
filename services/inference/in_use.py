"""Which checkpoints of a cache may still be loaded, told to the replicas that share it: a lock that ends with us."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class InUse:
    """Of this process. Whoever deletes a folder takes its lock alone, and leaves it where that is refused."""

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}

    def hold(self, folder: Path, name: str) -> bool:
        """Whether the folder is there, and stays, also under another name; it is known here as `name`."""
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for whoever deletes it
        self._close(name)
        self._descriptors[name] = descriptor
        return _is_still(folder, descriptor)

    def keep_only(self, name: str) -> None:
        """The others may be deleted."""
        for other in set(self._descriptors) - {name}:
            self._close(other)

    def _close(self, name: str) -> None:
        descriptor = self._descriptors.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)


def _is_still(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
