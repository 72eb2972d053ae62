"""`python -m benchmarks.broker_worker URL TOPIC`: one worker whose tasks take 100 ms, four at a time.

Prints "TIME KEY" when a task is done; ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from retrograde.runtime.adapters import open_broker
from retrograde.runtime.broker import Message
from retrograde.runtime.worker import consume

TASK_SECONDS = 0.1
MAX_IN_FLIGHT = 4


async def _handle(message: Message) -> None:
    await asyncio.sleep(TASK_SECONDS)
    print(time.time(), message.key, flush=True)


async def _work(url: str, topic: str) -> None:
    drain = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain.set)
    broker = open_broker(url)
    await consume(broker, topic, "workers", _handle, drain=drain, max_in_flight=MAX_IN_FLIGHT)
    broker.close()


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:]))
