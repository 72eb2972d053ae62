"""The search and rewriter processes on a real broker, store and wire, with a scripted policy behind the RPCs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from retrograde.core.problem import Problem
from retrograde.core.settings import LinearizeSettings, RewriteSettings
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import inference_service_pb2, verifier_service_pb2
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceServicer, add_InferenceServiceServicer_to_server
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server
from retrograde.wire.clients import RewriterClient, SearchClient
from retrograde.wire.convert import grade_to_proto, problem_from_proto, tree_from_proto
from retrograde.wire.convert_rollout import generation_to_proto, sampling_from_proto
from services.search.worker import PROBLEMS_TOPIC
from tests.unit.search.search_fakes import RECIPE, Prompt, Run, ScriptedPolicy, TaskVerifier, problems

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 60
CALL_SECONDS = 0.03


class Inference(InferenceServiceServicer):
    """Serves the scripted policy; `seeds` are those of the answered calls."""

    def __init__(self) -> None:
        self.policy = ScriptedPolicy()

    @property
    def seeds(self) -> list[int | None]:
        return self.policy.seeds

    async def Generate(self, request: inference_service_pb2.GenerateRequest, _context: object) -> Any:
        await asyncio.sleep(CALL_SECONDS)
        prompt = Prompt(request.text, begun=request.assistant_prefix)
        generation = await self.policy.generate(prompt, sampling_from_proto(request.sampling))
        return generation_to_proto(generation)


class Verifier(VerifierServiceServicer):
    """Asks the task."""

    def __init__(self) -> None:
        self.judge = TaskVerifier()

    async def Verify(self, request: verifier_service_pb2.VerifyRequest, _context: object) -> Any:
        grades = await self.judge.verify([(problem_from_proto(item.problem), item.text) for item in request.items])
        return verifier_service_pb2.VerifyResponse(grades=[grade_to_proto(grade) for grade in grades])


class World:
    """A run in `folder`, the peers of the services, and how to start those."""

    def __init__(self, folder: Path, address: str, inference: Inference) -> None:
        self.folder = folder
        self.address = address
        self.inference = inference
        self.run = Run(folder)
        linearize = LinearizeSettings(num_wrong=(1,), self_evaluation_samples=0)
        recipe = RECIPE.model_copy(update={"linearize": linearize, "rewrite": RewriteSettings(method="template")})
        self.run.store.put("runs/r/recipe.json", recipe.model_dump_json().encode())

    @asynccontextmanager
    async def service(self, name: str, **more: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
        """The process and its address, once it is ready; killed at the end if it still runs."""
        settings = {
            "broker": f"sqlite://{self.folder}/broker.db?session_seconds=1.5",
            "store": f"file://{self.folder}/store",
            "inference": self.address,
            "verifier": self.address,
            **more,
        }
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", f"services.{name}", "--config", str(config)]
        environment = {"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
        )
        try:
            address = await _ready(process)
            drained = asyncio.create_task(_drain(process))
            yield process, address
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await drained

    def stored(self, folder: str) -> list[str]:
        prefix = f"runs/r/{folder}/"
        return [key.removeprefix(prefix).removesuffix(".pb") for key in self.run.store.list(prefix)]


async def _ready(process: asyncio.subprocess.Process) -> str:
    """The address in the line that says the process is ready."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in process.stderr:
            said = json.loads(line)
            if said["event"] == "ready":
                return str(said["address"])
    raise AssertionError("the process ended before it was ready")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    async for _ in process.stderr:
        pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    server = grpc.aio.server()
    inference = Inference()
    add_InferenceServiceServicer_to_server(inference, server)
    add_VerifierServiceServicer_to_server(Verifier(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    world = World(tmp_path, f"127.0.0.1:{port}", inference)
    yield world
    world.run.broker.close()
    await server.stop(None)


async def test_killed_and_stopped_services_lose_and_double_nothing(world: World) -> None:
    """Search killed with -9, then stopped with SIGTERM, then run to its end: one tree and one set a problem.

    A call may be answered twice only if the kill lost its answer: at most one for each tree in flight. What was in
    flight at SIGTERM is finished and logged, so that it costs nothing.
    """
    wanted = problems(24)
    ids = sorted(problem.id for problem in wanted)
    for problem in wanted:
        world.run.queue(problem)
    async with world.service("search", max_trees=6) as (process, _):
        await until(lambda: len(world.inference.seeds) > 40)
        process.kill()
    async with world.service("search", max_trees=6) as (process, _):
        await until(lambda: len(world.stored("trees")) > 8)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    async with world.service("search", max_trees=6), world.service("rewriter"):
        await until(lambda: sorted(world.stored("solutions")) == ids)
        await until(lambda: world.run.broker.lag(PROBLEMS_TOPIC, "search") == 0)
    assert sorted(world.stored("trees")) == ids
    assert [world.run.tree(problem).num_iterations for problem in wanted] == [6] * 24
    assert world.stored("tree-logs") == []
    twice = sum(count - 1 for count in Counter(world.inference.seeds).values())
    assert twice <= 6


async def test_search_is_watched_over_the_wire(world: World) -> None:
    """The stream tells iterations and ends with the tree; a bad problem comes back as the domain error."""
    (problem,) = problems(1)
    settings = '{"num_iterations": 4, "num_actions": 3, "num_rollouts": 2}'
    async with world.service("search") as (_, address), SearchClient(address) as client:
        responses = [response async for response in client.search(problem, settings, seed=3)]
        assert [response.iteration for response in responses][-1] == 4
        assert len(tree_from_proto(responses[-1].tree).nodes) == responses[-1].num_nodes > 1
        with pytest.raises(InvalidInputError, match="nosuchtask"):
            await anext(client.search(Problem("p", "nosuchtask", "?", "")))


async def test_walks_are_asked_over_the_wire(world: World) -> None:
    """A tree key outside of the store's reach is refused with its reason."""
    async with world.service("rewriter") as (_, address), RewriterClient(address) as client:
        with pytest.raises(InvalidInputError, match="tree_key: empty"):
            await client.linearize("")
