"""The inference service with a scripted engine in vLLM's place: answers name the checkpoint they were drawn under."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from services.inference import __main__ as service
from services.inference import engine
from services.inference.settings import InferenceSettings
from tests.unit.inference.fakes_inference import FakeEngine


class ScriptedEngine(FakeEngine):
    """Takes its time, as an engine does."""

    turn_seconds = 0.01

    async def watch(self, drain: asyncio.Event) -> None:
        await drain.wait()


@contextlib.asynccontextmanager
async def start(_settings: InferenceSettings, folder: Path) -> AsyncIterator[ScriptedEngine]:
    yield ScriptedEngine(folder)


if __name__ == "__main__":
    engine.start = start  # type: ignore[assignment]
    service.main()
