"""What a poison message costs the others, on every broker: a bounded time, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from retrograde.runtime import dead_letters
from retrograde.runtime.adapters import open_broker
from retrograde.runtime.dead_letters import open_letters
from retrograde.runtime.worker import consume

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from retrograde.cli.servers.kafka_server import KafkaServer
    from retrograde.runtime.broker import Broker, Message

ALL_BYTES = bytes(range(256))
ATTEMPTS, DEADLINE_SECONDS = 2, 0.5


async def work(broker: Broker, topic: str, handle: Callable[[Message], Awaitable[None]], until: asyncio.Event) -> None:
    """A worker until the event is set and everything is committed."""
    drain = asyncio.Event()
    worker = consume(
        broker,
        topic,
        "group",
        handle,
        drain=drain,
        max_in_flight=4,
        max_attempts=ATTEMPTS,
        backoff_seconds=0.05,
        deadline_seconds=DEADLINE_SECONDS,
    )
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(worker)
        await until.wait()
        while await asyncio.to_thread(broker.lag, topic, "group"):
            await asyncio.sleep(0.05)
        drain.set()


async def test_a_hung_message_is_dead_lettered_while_its_key_goes_on_and_is_handled_when_replayed(
    broker: Broker, topic: str
) -> None:
    """Later messages of its key are handled before it is given up; its letter is the message; replayed, it is done."""
    broker.publish(topic, "k", ALL_BYTES, {"own": "1"})
    for number in range(5):
        broker.publish(topic, "k", str(number).encode())
    others, done, events = asyncio.Event(), asyncio.Event(), []
    is_well = False

    async def handle(message: Message) -> None:
        if message.value == ALL_BYTES and not is_well:
            await asyncio.sleep(3600)
        events.append(message.value)
        if len(events) == 5:
            others.set()
        if message.value == ALL_BYTES:
            done.set()

    await work(broker, topic, handle, others)
    assert ALL_BYTES not in events
    (letter,) = open_letters(broker, topic)
    assert (letter.key, letter.value, letter.headers["own"]) == ("k", ALL_BYTES, "1")
    assert (letter.headers["x-attempt"], letter.headers["x-error-type"]) == ("2", "DeadlineExceededError")
    dead_letters.replay(broker, topic, letter)
    is_well = True
    await work(broker, topic, handle, done)
    assert (events[5:], open_letters(broker, topic)) == ([ALL_BYTES], [])


class Spy:
    """A broker that keeps the consumers it makes."""

    def __init__(self, broker: Broker) -> None:
        self.consumers: list[Any] = []
        self._broker = broker

    def consumer(self, topic: str, group: str) -> Any:
        self.consumers.append(self._broker.consumer(topic, group))
        return self.consumers[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


@pytest.mark.kafka
async def test_a_task_of_three_poll_intervals_causes_no_rebalance(kafka_server: KafkaServer) -> None:
    """Half of it awaits, half of it holds the event loop up, each longer than max.poll.interval: one generation."""
    drain, generations = asyncio.Event(), []

    async def handle(_: Message) -> None:
        (consumer,) = broker.consumers
        interval_seconds = consumer._kafka.config["max_poll_interval_ms"] / 1000
        generations.append(consumer._kafka.group_metadata().generation_id)
        await asyncio.sleep(1.5 * interval_seconds)
        time.sleep(1.5 * interval_seconds)
        generations.append(consumer._kafka.group_metadata().generation_id)
        drain.set()

    broker: Any = Spy(open_broker(f"{kafka_server.url}?session_seconds=10&poll_seconds=5"))
    with contextlib.closing(broker):
        broker.create_topic("long-task", 2)
        broker.publish("long-task", "k", b"")
        await asyncio.wait_for(consume(broker, "long-task", "g", handle, drain=drain), 300)
        assert broker.lag("long-task", "g") == 0
    assert len(set(generations)) == 1
    assert len(generations) == 2
