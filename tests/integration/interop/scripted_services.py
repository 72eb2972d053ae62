"""An inference and a verifier service that answer from a script, over gRPC on loopback.

The answers to a request are of the letters of ANSWERS in turn: "a" to "d" are right, "h" takes the verifier too long,
the others are wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import numpy as np
from tiny_world_of_interop import WORDS

from retrograde.core.policy import Completion, Generation
from retrograde.core.problem import Grade, Verdict
from retrograde.v1 import inference_service_pb2 as inference_pb2
from retrograde.v1 import verifier_service_pb2 as verifier_pb2
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server
from retrograde.wire.convert import grade_to_proto
from retrograde.wire.convert_rollout import generation_to_proto

END = 0
ANSWERS = "aehbfcgd"


@dataclass
class Inference(InferenceServiceServicer):
    """Samples without a model; writes down which checkpoints it was told to load."""

    loaded: list[str] = field(default_factory=list)

    def Generate(self, request: inference_pb2.GenerateRequest, context: object) -> inference_pb2.GenerateResponse:
        completions = tuple(_completion(ANSWERS[number % len(ANSWERS)]) for number in range(request.sampling.n))
        return generation_to_proto(Generation(completions, self._version, np.array([3, 4, 1], np.int32)))

    def GetModel(self, request: inference_pb2.GetModelRequest, context: object) -> inference_pb2.GetModelResponse:
        return inference_pb2.GetModelResponse(policy_version=self._version, max_model_tokens=64)

    def LoadWeights(
        self, request: inference_pb2.LoadWeightsRequest, context: object
    ) -> inference_pb2.LoadWeightsResponse:
        self.loaded.append(request.checkpoint_key)
        return inference_pb2.LoadWeightsResponse(policy_version=self._version)

    @property
    def _version(self) -> int:
        return 1 + len(self.loaded)


class Verifier(VerifierServiceServicer):
    """Looks at an answer's first letter."""

    def Verify(self, request: verifier_pb2.VerifyRequest, context: object) -> verifier_pb2.VerifyResponse:
        grades = [grade_to_proto(Grade(_verdict(item.text), "by its letter")) for item in request.items]
        return verifier_pb2.VerifyResponse(grades=grades)


def _completion(letter: str) -> Completion:
    token = WORDS.index(letter)
    return Completion(letter * 2, np.array([token, token, END], np.int32), np.full(3, -2.0, np.float32), -6.0)


def _verdict(text: str) -> Verdict:
    if text.startswith("h"):
        return Verdict.TIMEOUT
    return Verdict.CORRECT if text[:1] in set("abcd") else Verdict.INCORRECT


@contextlib.contextmanager
def serving(inference: Inference) -> Iterator[str]:
    """The address of both services, until the block ends."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    add_InferenceServiceServicer_to_server(inference, server)
    add_VerifierServiceServicer_to_server(Verifier(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
