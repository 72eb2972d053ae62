"""The lag of a group and the open dead letters of its topic, as gauges, looked at every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from retrograde.runtime import logs
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import DLQ_SUFFIX
from retrograde.runtime.dead_letters import open_letters
from retrograde.runtime.errors import NotFoundError, RetrogradeError
from retrograde.runtime.worker_metrics import DEAD_LETTERS, LAG

if TYPE_CHECKING:
    from retrograde.runtime.broker import Broker

LOOK_EVERY_SECONDS = 10.0
LOOKS_A_RECOUNT = 6  # dead letters are counted by reading their topic

_NOBODY = "nobody"  # a group that never commits: its lag is all there is

_log = logs.get_logger(__name__)


async def watch(broker: Broker, topic: str, group: str, drain: asyncio.Event) -> None:
    """Keeps `retrograde_worker_lag_messages` and `retrograde_worker_dead_letters` up to date until `drain` is set.

    Dead letters are counted every minute, and not again while their topic has not grown.
    """
    known, looks = -1, 0
    while not drain.is_set():
        try:
            LAG.labels(topic, group).set(await in_thread(broker.lag, topic, group))
            if looks % LOOKS_A_RECOUNT == 0:
                known = await in_thread(_count, broker, topic, known)
        except NotFoundError:  # a topic is made with the first work for it
            LAG.labels(topic, group).set(0)
        except RetrogradeError as error:
            _log.info("not counted", topic=topic, reason=str(error))
        looks += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(drain.wait(), LOOK_EVERY_SECONDS)


def _count(broker: Broker, topic: str, known: int) -> int:
    """Sets the gauge if the dead-letter topic holds other than `known` messages; gives how many it holds."""
    try:
        held = broker.lag(topic + DLQ_SUFFIX, _NOBODY)
        if held != known:
            DEAD_LETTERS.labels(topic).set(len(open_letters(broker, topic)))
    except NotFoundError:  # says nothing of the lag of `topic`
        held = 0
        DEAD_LETTERS.labels(topic).set(0)
    return held
