"""Faults of the local disk, said so that somebody can do something about them."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from retrograde.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def space_named(path: Path) -> Iterator[None]:
    """Answers a failed write with where it was, and how much is free there. Raises UnavailableError."""
    try:
        yield
    except (NotADirectoryError, IsADirectoryError, FileExistsError):
        raise
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise UnavailableError(f"{path}: {error.strerror}; the write did not happen") from error
        raise UnavailableError(
            f"{path}: {error.strerror}; {_free_bytes(path) / 2**20:.1f} MiB are free there: free some space or choose "
            "another place"
        ) from error


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
