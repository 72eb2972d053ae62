"""A store that is away or full holds a tree up; it loses nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import OverloadedError, UnavailableError
from retrograde.runtime.logs import get_logger
from services.search import metrics

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0

T = TypeVar("T")
_log = get_logger(__name__)


async def until_available(call: Callable[[], T], key: str) -> T:
    """What `call` on the store returns, in a thread; asked again, with growing pauses, while the store is away or full.

    `call` must be safe to repeat. It is said once that `key` waits, and once that it does so no more.
    """
    pause = 0.0
    while True:
        try:
            result = await in_thread(call)
        except (UnavailableError, OverloadedError) as error:
            if not pause:
                _log.warning("waiting for the store", key=key, reason=str(error))
            metrics.STORE_WAITS.inc()
        else:
            if pause:
                _log.info("the store is back", key=key)
            return result
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) or _FIRST_PAUSE_SECONDS
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
