"""`python -m benchmarks.unary_process ENDPOINT`: the same answer twice, by a process of ours and by a bare server.

Prints the two addresses. ENDPOINT takes the spans of ours; "" and it records none.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from retrograde.runtime.process import Process
from retrograde.runtime.settings import ServiceSettings
from retrograde.runtime.spans import TracingSettings
from retrograde.v1 import verifier_service_pb2 as pb
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server

ANSWER = pb.VerifyResponse(grades=[])


class Answering(VerifierServiceServicer):
    """Does no work."""

    async def Verify(self, request: pb.VerifyRequest, context: Any) -> pb.VerifyResponse:  # noqa: ARG002, N802 - gRPC's
        """The answer."""
        return ANSWER


async def serve(endpoint: str) -> None:
    """Until the process is ended."""
    bare = grpc.aio.server()
    add_VerifierServiceServicer_to_server(Answering(), bare)
    bare_port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    settings = ServiceSettings(tracing=TracingSettings(endpoint=endpoint), log_level="error")
    async with Process("bench", settings) as process:
        process.add_servicer(add_VerifierServiceServicer_to_server, Answering(), "retrograde.v1.VerifierService")

        async def tell(drain: asyncio.Event) -> None:
            print(process.address, f"127.0.0.1:{bare_port}", flush=True)
            await drain.wait()

        process.add_worker(tell)
        await process.serve()
    await bare.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
