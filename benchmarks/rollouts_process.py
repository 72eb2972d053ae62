"""The rollouts service with a scripted policy, and beside it a bare stream of the bytes that it sends.

    python -m benchmarks.rollouts_process FOLDER NUM_GROUPS

It prints two addresses: of the service, and of a server without anything of ours. There `Bench/Wait` answers once
NUM_GROUPS groups are ready in the feed it is asked for, and `Bench/Stream` sends their messages, made before: asked for
a number of bytes, those that the service sends where so many are allowed in one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.runtime.adapters import open_store
from retrograde.runtime.interceptors import CallsInFlight, ServerInterceptor
from retrograde.wire.channel import MAX_MESSAGE_BYTES
from retrograde.wire.clients import MESSAGE_BYTES
from services.rollouts.delivery import batches, response
from services.rollouts.feeds import Feeds
from services.rollouts.kept import Kept
from services.rollouts.servicer import RolloutsServicer, add_to_server
from services.rollouts.slots import Slots

NUM_TOKENS = 1024
_VERDICTS = (Verdict.CORRECT, Verdict.INCORRECT)
_LOOK_SECONDS = 0.01


class Policy:
    """Answers at once, always the same of NUM_TOKENS tokens."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        ids = rng.integers(0, 128_000, NUM_TOKENS).astype(np.int32)
        logprobs = -rng.random(NUM_TOKENS).astype(np.float32)
        self._completion = Completion("".join(f" {number % 1000}" for number in ids), ids, logprobs)

    async def generate(self, _prompt: Prompt, sampling: Sampling) -> Generation:
        """See core.policy.Policy."""
        return Generation((self._completion,) * sampling.n, 1, np.arange(128, dtype=np.int32))

    async def get_model(self) -> Generation:
        """What OpenFeed asks for: something with a policy version."""
        return Generation((), 1)


class Verifier:
    """Every other answer is right."""

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """See core.policy.Verifier."""
        return [Grade(_VERDICTS[index % 2], "", "28", "28") for index in range(len(items))]


class Bare(grpc.GenericRpcHandler):
    """Bytes out as they are."""

    def __init__(self, feeds: Feeds, num_groups: int) -> None:
        self._feeds = feeds
        self._num_groups = num_groups
        self._messages: dict[bytes, list[bytes]] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """By name of the method."""
        if details.method == "/Bench/Wait":
            return grpc.unary_unary_rpc_method_handler(self._wait)
        return grpc.unary_stream_rpc_method_handler(self._stream) if details.method == "/Bench/Stream" else None

    async def _wait(self, name: bytes, _context: object) -> bytes:
        feed = await self._feeds.get(name.decode())
        while len(feed.ready) < self._num_groups:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(_LOOK_SECONDS)
        if not self._messages:
            groups = list(feed.ready.values())
            self._messages = {
                max_bytes: [response(batch) for batch in batches(groups, int(max_bytes))]
                for max_bytes in (b"0", str(MESSAGE_BYTES).encode())
            }
        return b""

    async def _stream(self, max_bytes: bytes, _context: object) -> AsyncIterator[bytes]:
        for message in self._messages[max_bytes]:
            yield message


async def serve(folder: Path, num_groups: int) -> None:
    """Until the process is ended."""
    policy: Any = Policy()
    store = open_store(f"file://{folder}")
    options = (("grpc.max_send_message_length", MAX_MESSAGE_BYTES),)
    server = grpc.aio.server(interceptors=(ServerInterceptor(CallsInFlight()),), options=options)
    async with Feeds(store, policy, Verifier(), Slots(64), Kept(1 << 30), asyncio.Event()) as feeds:
        add_to_server(RolloutsServicer(feeds, policy), server)
        bare = grpc.aio.server(options=options)
        bare.add_generic_rpc_handlers((Bare(feeds, num_groups),))
        print(*(f"127.0.0.1:{each.add_insecure_port('127.0.0.1:0')}" for each in (server, bare)), flush=True)
        await asyncio.gather(server.start(), bare.start())
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
