"""`python -m benchmarks.search_worker FOLDER CORE`: one search worker on a real broker and store, without peers.

Policy and judge are scripted and in this process: the worker is all there is to wait for. It keeps to one core where
the system can, and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from benchmarks.scripted_policy import InProcessVerifier, ScriptedPolicy
from retrograde.runtime.adapters import open_broker, open_store
from services.search.driver import Driver
from services.search.settings import SearchServiceSettings
from services.search.worker import SearchWorker

_CALL_SECONDS = 0.05
_MAX_TREES = 64


async def _work(folder: Path) -> None:
    settings = SearchServiceSettings(inference="127.0.0.1:1", verifier="127.0.0.1:1", max_trees=_MAX_TREES)
    broker, store = open_broker(f"sqlite://{folder}/broker.db"), open_store(f"file://{folder}/store")
    drain = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain.set)
    driver = Driver(ScriptedPolicy(_CALL_SECONDS), InProcessVerifier())
    worker = SearchWorker(broker, store, driver, settings)
    worker.prepare()
    await worker.run(drain)
    broker.close()


def main() -> None:
    """Works until it is told to stop."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(sys.argv[2]) % len(cores)]})
    asyncio.run(_work(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
