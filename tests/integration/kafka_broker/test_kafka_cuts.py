"""A real Kafka behind a proxy that cuts and stalls connections in the middle of what they carry.

The broker advertises the proxy's address, so that every connection of every client goes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.cli.servers.obtain import kafka_libs
from retrograde.runtime.adapters import kafka_client, open_broker
from retrograde.runtime.errors import UnavailableError
from retrograde.runtime.reading import everything
from retrograde.runtime.worker import consume
from tests.proxy import Direction, Proxy
from tests.servers import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from retrograde.runtime.broker import Broker, Message

pytestmark = pytest.mark.kafka
NUM_CUTS, NUM_STALLS = 12, 2
PATIENCE_SECONDS = 180.0


class ProxiedKafka(KafkaServer):
    """Tells its clients to come through a proxy before it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.proxy = Proxy(self.ports[0])

    def _own_settings(self) -> dict[str, str]:
        return super()._own_settings() | {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.proxy.port}"}


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedKafka]:
    need(kafka_libs)
    server = ProxiedKafka(tmp_path_factory.mktemp("proxied-kafka"))
    with server.proxy, server:
        yield server


@pytest.fixture
def broker(proxied: ProxiedKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """Gives a request up after two seconds; publishing still has five for each, and ten in all."""
    monkeypatch.setattr(kafka_client, "REQUEST_SECONDS", 2.0)
    with contextlib.closing(open_broker(f"kafka://127.0.0.1:{proxied.proxy.port}")) as broker:
        yield broker
        proxied.proxy.heal()


@pytest.fixture
def topics(broker: Broker) -> tuple[str, str]:
    """A topic of tasks and one of results."""
    names = f"tasks.{uuid.uuid4().hex}", f"results.{uuid.uuid4().hex}"
    for name in names:
        broker.create_topic(name, 2)
    return names


class Traffic:
    """A writer of tasks, and a worker that publishes one result of each; and how often each was asked for."""

    def __init__(self, broker: Broker, tasks: str, results: str) -> None:
        self.broker, self.tasks, self.results = broker, tasks, results
        self.asked: Counter[tuple[str, str]] = Counter()  # publishes of a key to a topic
        self.num_written = 0
        self.is_over = asyncio.Event()
        self._drain = asyncio.Event()

    async def publish(self, topic: str, key: str) -> None:
        self.asked[topic, key] += 1
        await asyncio.to_thread(self.broker.publish, topic, key, b"x" * 2000)

    async def write(self) -> None:
        """One task after the other, each until it is acknowledged."""
        while not self.is_over.is_set():
            with contextlib.suppress(UnavailableError):
                await self.publish(self.tasks, str(self.num_written))
                self.num_written += 1

    async def handle(self, message: Message) -> None:
        await self.publish(self.results, message.key)

    async def flow(self) -> None:
        """Until it is over and every task is committed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(
                consume(
                    self.broker, self.tasks, "g", self.handle, drain=self._drain, max_in_flight=8, backoff_seconds=0.1
                )
            )
            await self.write()
            while await self._lag():
                await asyncio.sleep(0.1)
            self._drain.set()

    async def _lag(self) -> int:
        with contextlib.suppress(UnavailableError):
            return await asyncio.to_thread(self.broker.lag, self.tasks, "g")
        return -1

    def stored(self, topic: str) -> Counter[tuple[str, str]]:
        return Counter((topic, message.key) for message in everything(self.broker, topic))


async def befall(way: Direction, kind: str, number: int, traffic: Traffic) -> None:
    """Waits until it has happened, somewhere in the middle of what goes that way, and tasks are written again."""
    getattr(way, kind)(1 + 1700 * number)
    while not way.num_faults:
        await asyncio.sleep(0.02)
    num_before = traffic.num_written
    while traffic.num_written < num_before + 5:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("towards", ["up", "down"])
@pytest.mark.parametrize(("kind", "times"), [("cut", NUM_CUTS), ("stall", NUM_STALLS)])
async def test_nothing_is_lost_or_doubled(
    proxied: ProxiedKafka, broker: Broker, topics: tuple[str, str], towards: str, kind: str, times: int
) -> None:
    """Connections of producer and consumer break, or go silent one way for good: all go on by themselves.

    Every task is handled and committed. A message is stored as often as its publishing was asked for, and no more than
    once if the first time was acknowledged: what the client sends again by itself is stored once.
    """
    traffic = Traffic(broker, *topics)
    way: Direction = getattr(proxied.proxy, towards)
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(traffic.flow())
        for number in range(times):
            await befall(way, kind, number, traffic)
        traffic.is_over.set()
    tasks, results = (traffic.stored(topic) for topic in topics)
    assert len(tasks) == len(results) > 5 * times
    assert all(1 <= count <= traffic.asked[message] for message, count in (tasks | results).items())
