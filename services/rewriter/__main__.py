"""`python -m services.rewriter --config FILE`: the rewriter service."""

from __future__ import annotations

import asyncio
import functools

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.runtime.worker_watch import watch
from retrograde.v1.rewriter_service_pb2_grpc import add_RewriterServiceServicer_to_server
from retrograde.wire.clients import InferenceClient, VerifierClient
from retrograde.wire.topics import REWRITER_GROUP, TREES_TOPIC
from services.rewriter.judge import Judge
from services.rewriter.pipeline import Pipeline
from services.rewriter.servicer import RewriterServicer
from services.rewriter.settings import RewriterSettings
from services.rewriter.teller import Teller
from services.rewriter.worker import RewriterWorker


async def run(settings: RewriterSettings) -> None:
    """Builds the service and serves until told to stop."""
    async with Process("rewriter", settings) as process:
        policy = await process.enter(InferenceClient(settings.inference, identity=process.identity))
        verifier = await process.enter(VerifierClient(settings.verifier, identity=process.identity))
        teller = Teller(policy, verifier)
        pipeline = Pipeline(Judge(policy, process.store), teller)
        servicer = RewriterServicer(process.store, pipeline, teller)
        process.add_servicer(add_RewriterServiceServicer_to_server, servicer, "retrograde.v1.RewriterService")
        worker = RewriterWorker(process.broker, process.store, pipeline, settings)
        process.add_worker(worker.run, worker.prepare)
        process.add_worker(functools.partial(watch, process.broker, TREES_TOPIC, REWRITER_GROUP))
        await process.serve()


def main() -> None:
    """Entry point."""
    asyncio.run(run(load_settings(RewriterSettings)))


if __name__ == "__main__":
    main()
