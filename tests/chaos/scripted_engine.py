"""A process that answers as an inference and a verifier service would, by seed and prompt alone, after a fixed time.

    python -m tests.chaos.scripted_engine NUM_ADDRESSES SECONDS FILE

It prints its addresses, one a line. Each is for one client, and each question is a line `address-number seed` of FILE,
written before it is answered.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, TextIO

import grpc

from retrograde.core.policy import Prompt
from retrograde.v1 import inference_service_pb2 as inference_pb2
from retrograde.v1 import verifier_service_pb2 as verifier_pb2
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server
from retrograde.wire.convert import grade_to_proto, problem_from_proto
from retrograde.wire.convert_rollout import generation_to_proto, sampling_from_proto
from tests.unit.search.search_fakes import ScriptedPolicy, TaskVerifier

VERSION = 4
"""Of the scripted policy's answers."""


class Inference(InferenceServiceServicer):
    """Writes each question down, then takes its time."""

    def __init__(self, number: int, seconds: float, asked: TextIO) -> None:
        self._number = number
        self._seconds = seconds
        self._asked = asked
        self._policy = ScriptedPolicy()
        self._checkpoint_key = ""

    async def Generate(self, request: inference_pb2.GenerateRequest, _context: object) -> Any:
        self._asked.write(f"{self._number} {request.sampling.seed}\n")
        self._asked.flush()
        await asyncio.sleep(self._seconds)
        prompt = Prompt(request.text, begun=request.assistant_prefix)
        return generation_to_proto(await self._policy.generate(prompt, sampling_from_proto(request.sampling)))

    async def GetModel(self, _request: inference_pb2.GetModelRequest, _context: object) -> Any:
        return inference_pb2.GetModelResponse(checkpoint_key=self._checkpoint_key, policy_version=VERSION)

    async def LoadWeights(self, request: inference_pb2.LoadWeightsRequest, _context: object) -> Any:
        self._checkpoint_key = request.checkpoint_key
        return inference_pb2.LoadWeightsResponse(policy_version=VERSION)


class Verifier(VerifierServiceServicer):
    """Asks the task."""

    async def Verify(self, request: verifier_pb2.VerifyRequest, _context: object) -> Any:
        items = [(problem_from_proto(item.problem), item.text) for item in request.items]
        grades = await TaskVerifier().verify(items)
        return verifier_pb2.VerifyResponse(grades=[grade_to_proto(grade) for grade in grades])


async def serve(num_addresses: int, seconds: float, path: Path) -> None:
    """Until the process is ended."""
    servers = []
    with path.open("a") as asked:
        for number in range(num_addresses):
            server = grpc.aio.server()
            add_InferenceServiceServicer_to_server(Inference(number, seconds, asked), server)
            add_VerifierServiceServicer_to_server(Verifier(), server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            servers.append(server)
            print(f"127.0.0.1:{port}", flush=True)  # noqa: T201 - whoever started it reads them
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
