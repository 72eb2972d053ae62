"""The policy as the search service asks it: completions, and how much of the engine is at work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc

from retrograde.v1 import inference_service_pb2 as pb
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceStub
from retrograde.wire.clients import InferenceClient
from services.search.engine_gate import Load


class Engine(InferenceClient):
    """The inference service, one replica or several."""

    async def load(self) -> Load:
        """Of all replicas together. Raises UnavailableError when one of them does not answer."""
        models = (await self._call_all(_get_model, pb.GetModelRequest())).values()
        return Load(
            sum(model.max_num_seqs for model in models),
            sum(model.num_running for model in models),
            sum(model.num_waiting for model in models),
        )


def _get_model(channel: grpc.aio.Channel) -> Callable[..., Awaitable[pb.GetModelResponse]]:
    return InferenceServiceStub(channel).GetModel
