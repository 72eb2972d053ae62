"""The engine's time, shared out among the requests it works on: so that the shares of all add up to the time it worked.

An engine step serves all its sequences at once. While requests with s1, s2, ... sequences are in flight, each is given
s_i / (s1 + s2 + ...) of the time that passes.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Share:
    """Of one request; `seconds` is known once it has ended."""

    seconds = 0.0


class EngineTime:
    """The meter of one engine; `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._num_sequences = 0
        self._per_sequence = 0.0  # seconds a sequence that had always been in flight would have been given
        self._last = clock()

    @contextlib.contextmanager
    def share(self, num_sequences: int) -> Iterator[Share]:
        """Around one request."""
        share = Share()
        self._advance()
        self._num_sequences += num_sequences
        begin = self._per_sequence
        try:
            yield share
        finally:
            self._advance()
            self._num_sequences -= num_sequences
            share.seconds = (self._per_sequence - begin) * num_sequences

    def _advance(self) -> None:
        now = self._clock()
        if self._num_sequences:
            self._per_sequence += (now - self._last) / self._num_sequences
        self._last = now
