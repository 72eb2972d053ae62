"""The worker loop on a real Kafka against a bare loop of the same client.

    worker-loop    tasks that do nothing but publish their result: poll -> handle -> publish -> commit

Both take the messages of a topic of four partitions, publish one of the same size for each, wait until all replicas
have it and commit. Ours is `consume` with its metrics, logs, retries, ledger and dead letters; the bare loop takes a
batch as large as ours has tasks in flight, sends it, flushes and commits. Messages are 1 KiB. Client and broker share
the machine: what the broker needs is the same for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer

from benchmarks.bench import Arms, Bench, Direction
from retrograde.cli.servers.kafka_server import KafkaServer
from retrograde.runtime.adapters import open_broker
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.worker import consume

NUM_MESSAGES = 3000
MESSAGE_BYTES = 1024
NUM_IN_FLIGHT = 64
NUM_PARTITIONS = 4
_VALUE = bytes(MESSAGE_BYTES)


class _Comparison:
    """Both arms on the same cluster, each with new topics for every measurement."""

    def __init__(self, server: KafkaServer, broker: Broker) -> None:
        self._server = server
        self._broker = broker

    def ours(self) -> float:
        """Messages per second through the worker loop."""
        source, target = self._topics()
        return asyncio.run(_work(self._broker, source, target))

    def against(self) -> float:
        """Messages per second through a loop of kafka-python alone."""
        source, target = self._topics()
        address = self._server.address
        producer = KafkaProducer(bootstrap_servers=address, acks="all", metrics_enabled=False)
        consumer = KafkaConsumer(
            source,
            bootstrap_servers=address,
            group_id=source,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            metrics_enabled=False,
        )
        with contextlib.closing(producer), contextlib.closing(consumer):
            return _bare(consumer, producer, target)

    def note(self) -> str:
        """What was compared."""
        return f"{NUM_MESSAGES} messages of {MESSAGE_BYTES} bytes, {NUM_IN_FLIGHT} in flight, acks of all replicas"

    def _topics(self) -> tuple[str, str]:
        """A topic with messages and one for results."""
        source, target = f"source.{uuid.uuid4().hex}", f"target.{uuid.uuid4().hex}"
        for topic in (source, target):
            self._broker.create_topic(topic, NUM_PARTITIONS)
        with contextlib.closing(KafkaProducer(bootstrap_servers=self._server.address)) as producer:
            for number in range(NUM_MESSAGES):
                producer.send(source, key=str(number).encode(), value=_VALUE)
            producer.flush()
        return source, target


async def _work(broker: Broker, source: str, target: str) -> float:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(NUM_IN_FLIGHT))  # as services do
    drain, begun, num_handled = asyncio.Event(), 0.0, 0

    async def handle(message: Message) -> None:
        nonlocal begun, num_handled
        begun = begun or time.perf_counter()
        await in_thread(broker.publish, target, message.key, message.value)
        num_handled += 1
        if num_handled == NUM_MESSAGES:
            drain.set()

    await consume(broker, source, "bench", handle, drain=drain, max_in_flight=NUM_IN_FLIGHT)
    return NUM_MESSAGES / (time.perf_counter() - begun)


def _bare(consumer: KafkaConsumer, producer: KafkaProducer, target: str) -> float:
    begun, num_handled = 0.0, 0
    while num_handled < NUM_MESSAGES:
        for records in consumer.poll(500, max_records=NUM_IN_FLIGHT).values():
            begun = begun or time.perf_counter()
            for record in records:
                producer.send(target, key=record.key, value=record.value)
            num_handled += len(records)
        if begun:
            producer.flush()
            consumer.commit()
    return NUM_MESSAGES / (time.perf_counter() - begun)


@contextlib.contextmanager
def _arms() -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as folder, KafkaServer(Path(folder)) as server:
        broker = open_broker(server.url)
        with contextlib.closing(broker):
            comparison = _Comparison(server, broker)
            yield Arms(comparison.ours, comparison.against, note=comparison.note)


BENCHES = (Bench("worker-loop", "messages/s", 0.80, Direction.UP, _arms),)
