"""What a process waits for before it serves: steps that block, each made again while what it needs is away.

Waiting mends an absence and nothing else: bad input, and a right that this process lacks, end the start at once.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from retrograde.runtime import logs
from retrograde.runtime.blocking import in_thread_of_its_own
from retrograde.runtime.errors import ForbiddenError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0

_log = logs.get_logger(__name__)


async def made(step: Callable[[], None]) -> None:
    """Returns once `step` did. Raises what it does, but for an UnavailableError that is no ForbiddenError.

    One that is cancelled leaves the step to its thread.
    """
    longest = _FIRST_PAUSE_SECONDS
    while True:
        try:
            await in_thread_of_its_own(step)
        except ForbiddenError:
            raise
        except UnavailableError as error:
            pause = longest * random.uniform(0.5, 1.0)
            _log.warning("start waits", pause_seconds=round(pause, 1), reason=str(error))
        else:
            return
        await asyncio.sleep(pause)
        longest = min(2 * longest, _LONGEST_PAUSE_SECONDS)
