"""The gate in front of the engine: requests pass it, and a weight swap closes it.

While it is open requests pass at once. `closed()` stops new ones, waits until the last one inside has left, lets the
swap happen, and opens again. So every request runs from its first to its last token under one policy version, and
none fails because of a swap.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Gate:
    """Counts who is inside; can be closed by one at a time."""

    def __init__(self) -> None:
        self.inside = 0
        self.waiting = 0
        self._open = asyncio.Event()
        self._open.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._closing = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Waits while the gate is closed; inside until left."""
        self.waiting += 1
        try:
            while not self._open.is_set():
                await self._open.wait()
        finally:
            self.waiting -= 1
        self.inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self.inside -= 1
            if not self.inside:
                self._empty.set()

    @contextlib.asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """Inside, nobody else is; those who come meanwhile wait."""
        async with self._closing:
            self._open.clear()
            try:
                await self._empty.wait()
                yield
            finally:
                self._open.set()
