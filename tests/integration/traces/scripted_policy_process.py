"""`python -m tests.integration.traces.scripted_policy_process --config FILE`: inference without an engine."""

from __future__ import annotations

import asyncio
from typing import Any

from retrograde.core.policy import Prompt
from retrograde.runtime.process import Process
from retrograde.runtime.settings import ServiceSettings, load_settings
from retrograde.v1 import inference_service_pb2 as pb
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from retrograde.wire.convert_rollout import generation_to_proto, sampling_from_proto
from tests.unit.search.search_fakes import ScriptedPolicy


class Inference(InferenceServiceServicer):
    """Answers as the scripted policy does."""

    policy = ScriptedPolicy()

    async def Generate(self, request: pb.GenerateRequest, _context: object) -> Any:
        prompt = Prompt(request.text, begun=request.assistant_prefix)
        return generation_to_proto(await self.policy.generate(prompt, sampling_from_proto(request.sampling)))


async def run(settings: ServiceSettings) -> None:
    async with Process("inference", settings) as process:
        process.add_servicer(add_InferenceServiceServicer_to_server, Inference(), "retrograde.v1.InferenceService")
        await process.serve()


if __name__ == "__main__":
    asyncio.run(run(load_settings(ServiceSettings)))
