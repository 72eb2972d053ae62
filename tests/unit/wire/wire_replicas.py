"""Replicas of the inference service on loopback: real servers, real health, answers that a test holds back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime import tracing
from retrograde.runtime.errors import OverloadedError, RetrogradeError, StalePolicyError
from retrograde.runtime.interceptors import DRAINING, CallsInFlight, ServerInterceptor
from retrograde.v1 import inference_service_pb2 as pb
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from retrograde.wire.clients import InferenceClient
from retrograde.wire.routing import ranked

SAMPLING = Sampling(n=4, max_tokens=8)


class Health(health.aio.HealthServicer):  # type: ignore[misc, name-defined]  # missing in the stubs
    """Counts how often it was asked."""

    num_checks = 0

    async def Check(self, request: object, context: object) -> object:
        self.num_checks += 1
        return await super().Check(request, context)


class Replica(InferenceServiceServicer):
    """Answers with its own address; `held` keeps answers back until it is set; `error` is raised instead of one."""

    def __init__(self, version: int = 1) -> None:
        self.address = ""
        self.version = version
        self.checkpoint_key = "base"
        self.asked: list[str] = []
        self.answered: list[str] = []
        self.request_ids: list[str] = []
        self.held = asyncio.Event()
        self.held.set()
        self.error: RetrogradeError | None = None
        self.calls = CallsInFlight()
        self.health = Health()
        self._server: grpc.aio.Server | None = None

    async def Generate(self, request: pb.GenerateRequest, _context: object) -> pb.GenerateResponse:
        self.asked.append(request.text)
        self.request_ids.append(tracing.carried()["x-request-id"])
        await self.held.wait()
        if self.error:
            raise self.error
        if self.version < request.min_policy_version:
            raise StalePolicyError(f"{self.version} is served")
        if request.policy_version not in (0, self.version):
            raise StalePolicyError(f"{request.policy_version} was asked for and {self.version} is served")
        self.answered.append(request.text)
        completions = [pb.Completion(text=self.address) for _ in range(request.sampling.n)]
        return pb.GenerateResponse(completions=completions, policy_version=self.version)

    async def LoadWeights(self, request: pb.LoadWeightsRequest, _context: object) -> pb.LoadWeightsResponse:
        self.asked.append(request.checkpoint_key)
        await self.held.wait()
        if self.error:
            raise self.error
        self.version = request.policy_version or self.version + 1
        self.checkpoint_key = request.checkpoint_key
        return pb.LoadWeightsResponse(policy_version=self.version, gap_seconds=float(self.version))

    async def GetModel(self, _request: pb.GetModelRequest, _context: object) -> pb.GetModelResponse:
        return pb.GetModelResponse(
            checkpoint_key=self.checkpoint_key,
            policy_version=self.version,
            max_model_tokens=100 + self.version,
            running_requests=2,
            waiting_requests=1,
        )

    async def start(self) -> None:
        """Serves at its old address, or at a free port."""
        self._server = grpc.aio.server(interceptors=(ServerInterceptor(self.calls),))
        add_InferenceServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        """At once: calls in flight break off."""
        if self._server:
            await self._server.stop(0)
            self._server = None

    async def drain(self) -> None:
        """As a process does after SIGTERM."""
        await self.say(well=False)
        self.calls.refusal = DRAINING

    async def say(self, *, well: bool) -> None:
        """Whether its health is SERVING."""
        status = health_pb2.HealthCheckResponse
        await self.health.set("", status.SERVING if well else status.NOT_SERVING)


class Names:
    """Resolves every name to `addresses` as they are now; an empty list is a name that is not known."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses

    async def __call__(self, _target: str) -> Sequence[str]:
        if not self.addresses:
            raise OSError("name not known")
        return list(self.addresses)


@asynccontextmanager
async def serving(*replicas: Replica) -> AsyncIterator[str]:
    """Their addresses, with commas between; stopped at the end, and what was held back let go."""
    async with AsyncExitStack() as stack:
        for replica in replicas:
            await replica.start()
            stack.push_async_callback(replica.stop)
        try:
            yield ",".join(replica.address for replica in replicas)
        finally:
            for replica in replicas:
                replica.held.set()


def in_order(key: str, replicas: Sequence[Replica]) -> list[Replica]:
    """`replicas` as `key` prefers them."""
    by_address = {replica.address: replica for replica in replicas}
    return [by_address[address] for address in ranked(key, by_address)]


async def ask(client: InferenceClient, text: str, *, key: str = "", policy_version: int = 0) -> str:
    """The address of the replica that answered."""
    async with asyncio.timeout(60):
        generation = await client.generate(Prompt(text), SAMPLING, key=key, policy_version=policy_version)
    return generation.completions[0].text


async def until(holds: Callable[[], bool]) -> None:
    """Returns when `holds` does."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


OVERLOADED = OverloadedError("full; try again later")
