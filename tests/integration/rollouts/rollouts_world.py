"""The rollouts service as a process, and beside it what it asks: an inference service over a scripted engine, a judge.

The inference service is the real one but for its engine: gate, versions, swaps and checkpoints are in this process, so
that a test may hold a request while it is drawn. Each completion names the weights it was drawn under.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from retrograde.core.policy import Sampling
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.interceptors import CallsInFlight, ServerInterceptor
from retrograde.runtime.lifeline import die_with_parent
from retrograde.runtime.tls import Identity, TlsSettings
from retrograde.v1 import verifier_service_pb2 as verifier_pb2
from retrograde.v1.inference_service_pb2_grpc import add_InferenceServiceServicer_to_server
from retrograde.v1.verifier_service_pb2_grpc import VerifierServiceServicer, add_VerifierServiceServicer_to_server
from retrograde.wire.convert import grade_to_proto
from services.inference.engine import Drawn
from services.inference.servicer import InferenceServicer
from services.inference.words import Words
from services.rollouts.ledger import Ledger
from services.rollouts.settings import FeedSettings
from services.rollouts.tickets import Tickets
from tests.integration.inference.inference_process import ROOT, Service, running
from tests.unit.inference import swap_world
from tests.unit.inference.fakes_inference import FakeEngine, FakeTokenizer

NUM_PROMPTS = 40
NUM_TOKENS = 1 << 15
PROMPTS = "prompts.jsonl"
_VERDICTS = (Verdict.CORRECT, Verdict.INCORRECT)


class AnyTokenizer(FakeTokenizer):
    """Reads any text, a token a character."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [1 for _ in text]


class Engine(FakeEngine):
    """Completions of NUM_TOKENS tokens, which are the number of their request."""

    max_model_tokens = 1 << 20

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.words = Words(AnyTokenizer())
        self.num_asked = 0

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, stop_token_ids: Sequence[int]) -> Drawn:
        self.num_asked += 1
        ids = np.full(NUM_TOKENS, self.num_asked, np.int32)
        drawn = await super().generate(prompt_ids, sampling, stop_token_ids)
        logprobs = np.full(NUM_TOKENS, -0.5, np.float32)
        return replace(
            drawn, completions=tuple(replace(each, token_ids=ids, logprobs=logprobs) for each in drawn.completions)
        )


class Verifier(VerifierServiceServicer):
    """Every other answer is right."""

    def __init__(self) -> None:
        self.num_groups = 0

    async def Verify(self, request: verifier_pb2.VerifyRequest, _context: object) -> verifier_pb2.VerifyResponse:
        self.num_groups += 1
        grades = [grade_to_proto(Grade(_VERDICTS[index % 2])) for index in range(len(request.items))]
        return verifier_pb2.VerifyResponse(grades=grades)


class World(swap_world.World):
    """See the module. `address` is of the rollouts service."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.engine: Engine = Engine(self.first)
        self.server = self.restarted()
        problems = [Problem(f"p{i}", "countdown", f"Numbers: {i} 7 7, target: 28.", "28") for i in range(NUM_PROMPTS)]
        self.store.put(PROMPTS, "\n".join(json.dumps(asdict(problem)) for problem in problems).encode())
        self.verifier = Verifier()
        self.service: Service

    @property
    def address(self) -> str:
        return self.service.address

    @property
    def resident_bytes(self) -> int:
        """Of the rollouts service's process, now."""
        pages = int(Path(f"/proc/{self.service.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def tickets(self, feed: str, settings: FeedSettings) -> Tickets:
        """The feed as its ledger has it, while the service writes on."""
        while True:
            ledger = Ledger(self.store, feed, Tickets(NUM_PROMPTS, settings.num_epochs))
            with contextlib.suppress(NotFoundError):  # it was folded into a snapshot as we read
                ledger.replay()
                return ledger.tickets


@contextlib.asynccontextmanager
async def world(folder: Path, tls: TlsSettings | None = None, **more: object) -> AsyncIterator[World]:
    """All of it, running, with `more` settings of the rollouts service; with `tls` all of it shows that identity."""
    here = World(folder)
    server = grpc.aio.server(interceptors=(ServerInterceptor(CallsInFlight()),))
    add_InferenceServiceServicer_to_server(InferenceServicer(here.server), server)
    add_VerifierServiceServicer_to_server(here.verifier, server)
    if tls:
        port = server.add_secure_port("127.0.0.1:0", Identity.of(tls).server_credentials())
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    address = f"127.0.0.1:{port}"
    await server.start()
    settings: dict[str, Any] = {
        "store": f"file://{folder / 'store'}",
        "inference": address,
        "verifier": address,
        "max_groups_in_flight": 8,
        "max_kept_bytes": 4 << 20,
        "max_message_bytes": 64 << 20,
        **({"tls": {name: str(path) for name, path in tls}} if tls else {}),
        **more,
    }
    try:
        with running(folder, "services.rollouts", **settings) as here.service:
            yield here
    finally:
        await server.stop(None)


@contextlib.contextmanager
def standing_consumer(here: World, feed: str, name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that pulls, says what it got, and stands still; killed at the end if it has not been before."""
    command = [sys.executable, "-m", "tests.integration.rollouts.standing_consumer", here.address, feed, name]
    with subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'libs'}:{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - one system call, no lock
    ) as process:
        try:
            yield process
        finally:
            process.kill()
