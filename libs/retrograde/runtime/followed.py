"""What files say, read again when they change.

Safe in every thread. A change that cannot be read, or of which only half is there, is logged once, and the last whole
reading stays in use until the files change again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

_log = get_logger(__name__)


class _Stamp(NamedTuple):
    """Changes with a file's contents, also when a link on its path is turned elsewhere."""

    inode: int
    mtime_ns: int
    size: int


class Followed(Generic[T]):
    """What `read` makes of the files. Raises what `read` does, InvalidInputError, when that fails to begin with."""

    def __init__(self, files: Sequence[Path], read: Callable[[], T]) -> None:
        self._files = files
        self._read = read
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._value = self._read_whole()

    def current(self) -> T:
        """The same object until the files change."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._read_again()
            return self._value

    def _read_again(self) -> None:
        files = [str(file) for file in self._files]
        try:
            self._value = self._read_whole()
        except InvalidInputError as error:
            _log.warning("files not taken over", files=files, reason=str(error))
        else:
            _log.info("files taken over", files=files)

    def _read_whole(self) -> T:
        value = self._read()
        if self._stamps() != self._seen:
            raise InvalidInputError(f"{', '.join(map(str, self._files))}: changed while they were read; start again")
        return value

    def _stamps(self) -> list[_Stamp | None]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> _Stamp | None:
    """None where there is no file."""
    try:
        found = file.stat()
    except OSError:
        return None
    return _Stamp(found.st_ino, found.st_mtime_ns, found.st_size)
