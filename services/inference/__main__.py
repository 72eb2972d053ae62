"""`python -m services.inference --config FILE.yaml`: serves one policy until SIGTERM.

checkpoint -> engine (a child process) -> PolicyServer (gate, versions, swaps) -> gRPC, and HTTP beside it if asked.
"""

from __future__ import annotations

import asyncio
import gc

from retrograde.runtime.process import Process
from retrograde.runtime.settings import load_settings
from retrograde.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from services.inference import engine, openai
from services.inference.servicer import InferenceServicer
from services.inference.serving import Limits, PolicyServer
from services.inference.settings import InferenceSettings
from services.inference.swaps import Current, Swaps
from services.inference.weights import Cache, Checkpoints, folder_of


async def run(settings: InferenceSettings) -> None:
    """Serves until drained."""
    engine.prepare_environment(settings)
    async with Process("inference", settings) as process:
        checkpoints = Checkpoints(
            process.store,
            settings.model_name,
            settings.checkpoint,
            Cache(settings.cache, settings.cache_checkpoints, settings.cache_bytes),
        )
        served, weights = await asyncio.to_thread(checkpoints.start)
        running = await process.enter(engine.start(settings, folder_of(weights)))
        limits = Limits(settings.max_n, settings.max_pending_sequences, settings.max_num_seqs)
        swaps = Swaps(running, checkpoints, checkpoints, Current(served, weights), settings.in_flight_at_swap)
        policy = PolicyServer(running, limits, swaps)
        process.add_servicer(
            add_InferenceServiceServicer_to_server, InferenceServicer(policy), "retrograde.v1.InferenceService"
        )
        if settings.openai_port:
            api = openai.serve(running, settings, process.drain, process.tokens, process.identity)
            await process.enter(api)
        process.add_worker(running.watch)
        await process.serve()


def main() -> None:
    """Reads the settings and serves."""
    asyncio.run(run(load_settings(InferenceSettings)))
    gc.freeze()  # else the interpreter's end looks for garbage in all of vLLM and torch, for seconds


if __name__ == "__main__":
    main()
