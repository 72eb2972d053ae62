"""Several things on their way to or from the store at a time, and never more than that."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Item = TypeVar("Item")


class Transfers:
    """Files, and parts of files, `num` at a time; `seat` is held by whatever has a part in memory, of any file."""

    def __init__(self, num: int) -> None:
        self._num = num
        self.seat: contextlib.AbstractContextManager[bool] = threading.BoundedSemaphore(num)

    def each(self, work: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
        """What `work` returns for each item, in their order; the first fault ends it and is raised."""
        with ThreadPoolExecutor(self._num, thread_name_prefix="s3") as pool:
            return list(pool.map(work, items))
