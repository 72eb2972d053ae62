"""PullRollouts against bare gRPC streams of the same bytes, from another process on this machine.

    rollouts-stream      groups of 8 samples of 1,024 tokens, MiB per second, against one bare message of each group
    rollouts-messages    the same, against the very messages that the service sends: up to 256 KiB of groups in each

Ours claims groups that were made before, leases them durably (a file store), sends them, and gives RolloutGroups in the
client, whose samples become arrays when they are read; the bare stream sends messages that lie ready, and reads bytes.
Each pair pulls a feed of its own, so that nothing is sampled meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from benchmarks.bench import Arms, Bench, Direction
from retrograde.core.problem import Problem
from retrograde.runtime.adapters import open_store
from retrograde.wire.channel import open_channel
from retrograde.wire.clients import MESSAGE_BYTES, RolloutsClient

_NUM_GROUPS = 1000
_GROUP_SIZE = 8
_MIB = 1 << 20
_PROMPTS = "prompts.jsonl"


class _Streams:
    """Both arms over one service; figures are MiB per second of the messages."""

    def __init__(
        self,
        runner: asyncio.Runner,
        client: RolloutsClient,
        channel: grpc.aio.Channel,
        max_message_bytes: int,
        service_pid: int,
    ) -> None:
        self._request = str(max_message_bytes).encode()
        self._runner = runner
        self._client = client
        self._channel = channel
        self._feed = ""
        self._num_bytes = 0
        self._service_pid = service_pid
        self._cpu_seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "bare": []}

    def prepare(self, repetition: int) -> None:
        """A feed of its own, all of it made."""
        self._feed = f"feed-{repetition}"
        self._runner.run(self._prepare())

    def against(self) -> float:
        """Bytes."""
        self._num_bytes, seconds = self._timed("bare", self._stream())
        return self._num_bytes / _MIB / seconds

    def ours(self) -> float:
        """Groups."""
        count, seconds = self._timed("ours", self._pull())
        if count != _NUM_GROUPS:
            raise RuntimeError(f"{self._feed}: {count} groups came and {_NUM_GROUPS} were pulled")
        return (self._num_bytes or self._runner.run(self._stream())) / _MIB / seconds

    def note(self) -> str:
        """The sizes, and where the time goes."""
        per_group = {
            arm: [f"{1e6 * statistics.fmean(side) / _NUM_GROUPS:.0f}" for side in zip(*spent, strict=True)]
            for arm, spent in self._cpu_seconds.items()
        }
        spent = ", ".join(f"{arm} {client} and {service}" for arm, (client, service) in per_group.items())
        size = self._num_bytes / _NUM_GROUPS / 1024
        return f"{_NUM_GROUPS} groups of {size:.0f} KiB a pull; us of CPU a group in client and service: {spent}"

    def _timed(self, arm: str, work: Coroutine[Any, Any, int]) -> tuple[int, float]:
        """What it returns, and the seconds it took; notes the CPU time of both processes."""
        before, began = self._cpu(), time.perf_counter()
        result = self._runner.run(work)
        seconds = time.perf_counter() - began
        client, service = (after - earlier for after, earlier in zip(self._cpu(), before, strict=True))
        self._cpu_seconds[arm].append((client, service))
        return result, seconds

    def _cpu(self) -> tuple[float, float]:
        """Seconds that this process and the service's have used so far."""
        ticks = Path(f"/proc/{self._service_pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return time.process_time(), sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    async def _prepare(self) -> None:
        described = json.dumps({"group_size": _GROUP_SIZE, "num_ahead": _NUM_GROUPS, "num_epochs": 1})
        await self._client.open_feed(self._feed, _PROMPTS, described)
        async for _ in self._client.pull(self._feed, 1):
            await self._channel.unary_unary("/Bench/Wait")(self._feed.encode())

    async def _stream(self) -> int:
        return sum([len(message) async for message in self._channel.unary_stream("/Bench/Stream")(self._request)])

    async def _pull(self) -> int:
        return sum([1 async for _ in self._client.pull(self._feed, _NUM_GROUPS)])


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """The process of a service over `folder`, which ends when left, its address and the bare server's."""
    problems = (
        Problem(f"p{number}", "countdown", "Numbers: 3 7 7, target: 28.", "28") for number in range(_NUM_GROUPS + 1)
    )
    prompts = "\n".join(json.dumps(asdict(problem)) for problem in problems)
    open_store(f"file://{folder}").put(_PROMPTS, prompts.encode())
    command = [sys.executable, "-m", "benchmarks.rollouts_process", str(folder), str(_NUM_GROUPS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.pid, process.stdout.readline().split() if process.stdout else []
        finally:
            process.kill()


@contextlib.contextmanager
def _open(max_message_bytes: int) -> Iterator[Arms]:
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving(Path(folder)) as (service_pid, addresses),
        asyncio.Runner() as runner,
    ):

        async def connect() -> tuple[RolloutsClient, grpc.aio.Channel]:
            return RolloutsClient(addresses[0]), open_channel(addresses[1])

        client, channel = runner.run(connect())
        streams = _Streams(runner, client, channel, max_message_bytes, service_pid)
        try:
            yield Arms(streams.ours, streams.against, streams.prepare, streams.note)
        finally:
            runner.run(client.__aexit__(None, None, None))
            runner.run(channel.close(None))


def _bench(name: str, max_message_bytes: int) -> Bench:
    open_arms = functools.partial(_open, max_message_bytes)
    return Bench(name, "MiB/s", 0.90, Direction.UP, open_arms, num_repetitions=9)


BENCHES = (_bench("rollouts-stream", 0), _bench("rollouts-messages", MESSAGE_BYTES))
