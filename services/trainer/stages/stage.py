"""What a stage is given and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

from retrograde.core.problem import Cost, Problem
from retrograde.recipe.recipe import Recipe
from retrograde.runtime.broker import Broker
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import run_pb2
from retrograde.wire.clients import InferenceClient, VerifierClient
from services.trainer.launch import LaunchBackend
from services.trainer.settings import TrainerSettings
from services.trainer.starts import RunHistory

Progress = Callable[[int, int, str], Awaitable[None]]


class NoHistory:
    """Of a stage that runs by itself."""

    async def tell(self, event: run_pb2.RunEvent) -> None:
        """Nobody listens."""

    async def events(self) -> list[run_pb2.RunEvent]:
        """None."""
        return []

    async def check(self) -> None:
        """It is nobody else's."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything a stage may use."""

    run_id: str
    recipe: Recipe
    settings: TrainerSettings
    store: ObjectStore
    broker: Broker
    policy: InferenceClient
    verifier: VerifierClient
    backend: LaunchBackend
    history: RunHistory = field(default_factory=NoHistory)

    def key(self, *parts: str) -> str:
        """Object key inside the run."""
        return "/".join(("runs", self.run_id, *parts))


class Stage(Protocol):
    """One step of a run. `progress(done, total, detail)` may be awaited as often as there is news.

    `serves` is the arm whose weights the inference pool has to serve meanwhile, "" where that does not matter.
    """

    name: str
    unit: str
    serves: str

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """Does what is not done yet; returns what it cost."""


def json_lines(rows: Iterable[object]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read_json_lines(data: bytes) -> list[dict[str, object]]:
    """JSON lines as rows."""
    return [json.loads(line) for line in data.decode().split("\n") if line]


def problems_to_bytes(problems: Sequence[Problem]) -> bytes:
    """Problems as JSON lines."""
    return json_lines(asdict(problem) for problem in problems)


def problems_from_bytes(data: bytes) -> list[Problem]:
    """JSON lines as problems."""
    return [Problem(**json.loads(line)) for line in data.decode().split("\n") if line]
