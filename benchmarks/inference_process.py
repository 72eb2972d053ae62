"""An inference service as a process, and a client that asks it many things at once from ordinary functions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
import yaml

from benchmarks.search_requests import Asked
from retrograde.core.policy import Generation
from retrograde.v1 import inference_service_pb2
from retrograde.v1.inference_service_pb2_grpc import InferenceServiceStub
from retrograde.wire.clients import InferenceClient

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 300.0
_Result = TypeVar("_Result")
_Ask = Callable[[Sequence[Asked]], Coroutine[object, object, list[Generation]]]
STOP_SECONDS = 60.0


class Inference:
    """One open connection to the service."""

    def __init__(self, runner: asyncio.Runner, client: InferenceClient) -> None:
        self._runner = runner
        self._client = client

    def replay(self, asked: Sequence[Asked], *, one_by_one: bool = False) -> tuple[float, list[Generation]]:
        """(wall seconds, answers in order), all asked at once, or each when the one before is answered."""
        return self._runner.run(self._timed(self._ask_each if one_by_one else self._ask_all, asked))

    def run(self, ask: Callable[[InferenceClient], Coroutine[object, object, _Result]]) -> _Result:
        """What `ask` finds out by the client."""
        return self._runner.run(ask(self._client))

    def prefilled_tokens(self) -> int:
        """Prompt tokens the service's engine has computed since its start."""
        return self._runner.run(self._model()).num_prefilled_tokens

    async def _model(self) -> inference_service_pb2.GetModelResponse:
        async with grpc.aio.insecure_channel(self._client.address) as channel:
            return await InferenceServiceStub(channel).GetModel(inference_service_pb2.GetModelRequest())

    async def _timed(self, ask: _Ask, asked: Sequence[Asked]) -> tuple[float, list[Generation]]:
        began = time.perf_counter()
        answers = await ask(asked)
        return time.perf_counter() - began, answers

    async def _ask_each(self, asked: Sequence[Asked]) -> list[Generation]:
        return [await self._client.generate(each.prompt, each.sampling) for each in asked]

    async def _ask_all(self, asked: Sequence[Asked]) -> list[Generation]:
        return await asyncio.gather(*(self._client.generate(each.prompt, each.sampling) for each in asked))


def write_settings(folder: Path, settings: Mapping[str, object]) -> Path:
    """The settings file of the service, which the bare engine reads too."""
    config = folder / "inference.yaml"
    config.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    return config


@contextlib.contextmanager
def running_inference(config: Path) -> Iterator[Inference]:
    """Starts the service and stops it in the end."""
    log = config.parent / "inference.log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "services.inference", "--config", str(config)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=stderr, stdout=stderr)
    try:
        with asyncio.Runner() as runner:
            client = InferenceClient(_address(process, log))
            runner.run(client.__aenter__())
            try:
                yield Inference(runner, client)
            finally:
                runner.run(client.__aexit__(None, None, None))
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Where the service listens, as its log tells. Raises RuntimeError with the log if it does not start."""
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n") and (entry := json.loads(line)).get("event") == "ready":
                return str(entry["address"])
        time.sleep(0.2)
    raise RuntimeError(f"the inference service did not start: {log.read_text(encoding='utf-8')[-2000:]}")
