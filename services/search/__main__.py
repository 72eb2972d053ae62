"""`python -m services.search --config FILE`: the search service."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.runtime.worker_watch import watch
from retrograde.v1.search_service_pb2_grpc import add_SearchServiceServicer_to_server
from retrograde.wire.clients import VerifierClient
from retrograde.wire.topics import PROBLEMS_TOPIC, SEARCH_GROUP
from services.search.driver import Driver
from services.search.engine import Engine
from services.search.engine_gate import EngineGate, follow_engine
from services.search.grading import GradeBatcher
from services.search.servicer import SearchServicer
from services.search.settings import SearchServiceSettings
from services.search.worker import SearchWorker


async def run(settings: SearchServiceSettings) -> None:
    """Builds the service and serves until told to stop."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(settings.store_threads, "store"))
    async with Process("search", settings) as process:
        policy = await process.enter(Engine(settings.inference, identity=process.identity))
        verifier = await process.enter(VerifierClient(settings.verifier, identity=process.identity))
        gate = EngineGate(settings.engine_fill * settings.engine_samples)
        driver = Driver(policy, GradeBatcher(verifier, settings.grade_items, settings.grade_wait_seconds), gate)
        servicer = SearchServicer(driver, settings.max_watched, process.drain)
        process.add_servicer(add_SearchServiceServicer_to_server, servicer, "retrograde.v1.SearchService")
        worker = SearchWorker(process.broker, process.store, driver, settings)
        process.add_worker(worker.run, worker.prepare)
        process.add_worker(functools.partial(watch, process.broker, PROBLEMS_TOPIC, SEARCH_GROUP))
        look = settings.engine_look_seconds
        process.add_worker(functools.partial(follow_engine, gate, policy, settings.engine_fill, look))
        await process.serve()


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(SearchServiceSettings)))


if __name__ == "__main__":
    main()
