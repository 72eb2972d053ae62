"""The gRPC face: from_proto, call, to_proto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrograde.core.policy import Prompt
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import inference_service_pb2 as pb
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer
from retrograde.wire.convert_rollout import (
    generation_to_proto,
    in_flight_from_proto,
    int32_from_proto,
    sampling_from_proto,
)
from services.inference.serving import Ask

if TYPE_CHECKING:
    from services.inference.serving import PolicyServer


class InferenceServicer(InferenceServiceServicer):
    """InferenceService over a PolicyServer."""

    def __init__(self, policy: PolicyServer) -> None:
        self._policy = policy

    async def Generate(self, request: pb.GenerateRequest, _context: Any) -> pb.GenerateResponse:
        """See the proto."""
        return generation_to_proto(await self._policy.generate(ask_from_proto(request)))

    async def Score(self, request: pb.ScoreRequest, _context: Any) -> pb.ScoreResponse:
        """See the proto."""
        scores = await self._policy.score(request.prompt, request.continuations)
        return pb.ScoreResponse(
            logprobs=scores.logprobs, num_tokens=scores.num_tokens, policy_version=scores.policy_version
        )

    async def LoadWeights(self, request: pb.LoadWeightsRequest, _context: Any) -> pb.LoadWeightsResponse:
        """See the proto."""
        swap = await self._policy.swaps.load_weights(
            request.checkpoint_key, request.policy_version, in_flight_from_proto(request.in_flight)
        )
        return pb.LoadWeightsResponse(
            policy_version=swap.policy_version, gap_seconds=swap.gap_seconds, stopped_seconds=swap.stopped_seconds
        )

    async def GetModel(self, _request: pb.GetModelRequest, _context: Any) -> pb.GetModelResponse:
        """See the proto."""
        served, load = self._policy.swaps.served, self._policy.load
        return pb.GetModelResponse(
            checkpoint_key=served.checkpoint_key,
            policy_version=served.policy_version,
            max_model_tokens=self._policy.max_model_tokens,
            running_requests=self._policy.gate.inside,
            waiting_requests=self._policy.gate.waiting,
            max_num_seqs=load.max_num_seqs,
            num_running=load.num_running,
            num_waiting=load.num_waiting,
            num_prefilled_tokens=load.num_prefilled_tokens,
            num_cached_tokens=load.num_cached_tokens,
            checkpoint_digest=served.digest,
        )


def ask_from_proto(request: pb.GenerateRequest) -> Ask:
    """Message -> Ask. Raises InvalidInputError when no prompt is given."""
    return Ask(
        prompt=_prompt_from_proto(request),
        sampling=sampling_from_proto(request.sampling),
        stop_token_ids=tuple(request.sampling.stop_token_ids),
        min_policy_version=request.min_policy_version,
        policy_version=request.policy_version,
    )


def _prompt_from_proto(request: pb.GenerateRequest) -> Prompt | tuple[int, ...]:
    match request.WhichOneof("prompt"):
        case "text":
            return Prompt(request.text, begun=request.assistant_prefix)
        case "chat":
            return Prompt(request.chat, chat=True, begun=request.assistant_prefix)
        case "token_ids":
            return tuple(int32_from_proto(request.token_ids).tolist())
        case _:
            raise InvalidInputError("prompt: none is given; set text, chat or token_ids")
