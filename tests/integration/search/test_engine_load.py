"""The search service knows how large the engine is and how full, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from retrograde.v1 import inference_service_pb2 as pb
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from services.search.engine import Engine
from services.search.engine_gate import EngineGate, Load, follow_engine


class Replica(InferenceServiceServicer):
    """Says what it was told to."""

    def __init__(self, load: Load) -> None:
        self.load = load

    async def GetModel(self, _request: pb.GetModelRequest, _context: object) -> pb.GetModelResponse:
        load = self.load
        return pb.GetModelResponse(
            max_num_seqs=load.max_num_seqs, num_running=load.num_running, num_waiting=load.num_waiting
        )


@asynccontextmanager
async def serving(*loads: Load) -> AsyncIterator[str]:
    """The addresses of one replica for each load."""
    async with AsyncExitStack() as stack:
        addresses = []
        for load in loads:
            server = grpc.aio.server()
            add_InferenceServiceServicer_to_server(Replica(load), server)
            addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        yield ",".join(addresses)


async def test_load_is_that_of_all_replicas() -> None:
    """Two replicas are one engine of the sum of their batches."""
    async with serving(Load(64, 60, 5), Load(32, 3, 0)) as addresses, Engine(addresses) as engine:
        assert await engine.load() == Load(96, 63, 5)


async def test_gate_takes_the_size_of_the_engine_it_finds() -> None:
    """Set for 256 sequences, it is fitted to the 64 that are there."""
    gate, drain = EngineGate(384.0), asyncio.Event()
    async with serving(Load(64, 0, 0)) as address, Engine(address) as engine:
        following = asyncio.create_task(follow_engine(gate, engine, 1.5, 0.01, drain))
        async with asyncio.timeout(20):
            while gate.target > 96.0:
                await asyncio.sleep(0.01)
        drain.set()
        await following
