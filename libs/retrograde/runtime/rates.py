"""How often one caller may call: a bucket of calls for each, filled at a steady rate, that holds a second's worth."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from retrograde.runtime.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_CALLERS = 10_000


class Rates:
    """`calls_per_second` for each caller; None: any number."""

    def __init__(self, calls_per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = calls_per_second
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller -> calls left, as of when

    def take(self, caller: str) -> None:
        """One call. Raises RateLimitedError, which tells how long to wait."""
        if self._rate is None:
            return
        now, most = self._clock(), max(1.0, self._rate)
        left, then = self._buckets.pop(caller, (most, now))
        left = min(most, left + (now - then) * self._rate)
        self._buckets[caller] = (left - 1 if left >= 1 else left, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)  # whoever has been quiet the longest begins anew
        if left < 1:
            wait = (1 - left) / self._rate
            raise RateLimitedError(
                f"{caller} calls more than {self._rate:g} times a second (max_calls_per_second); "
                f"call again in {wait:.3g} s",
                wait,
            )
