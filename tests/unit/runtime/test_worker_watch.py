"""What a worker tells about its queue: lag by group, open dead letters, retries, redeliveries."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from retrograde.runtime import dead_letters, worker_watch
from retrograde.runtime.adapters.sqlite_broker import SqliteBroker
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.runtime.worker import consume
from retrograde.runtime.worker_watch import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from retrograde.runtime.broker import Message

TOPIC = "watched"


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteBroker]:
    monkeypatch.setattr(worker_watch, "LOOK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(worker_watch, "LOOKS_A_RECOUNT", 1)
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic(TOPIC, 1)
    yield broker
    broker.close()


def figure(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"retrograde_worker_{name}", {"topic": TOPIC} | labels) or 0.0


async def until(name: str, value: float, **labels: str) -> None:
    async with asyncio.timeout(10):
        while figure(name, **labels) != value:
            await asyncio.sleep(0.01)


async def test_lag_and_open_dead_letters_are_told(broker: SqliteBroker) -> None:
    """Lag falls with each commit; a dead letter counts until it is settled."""
    for value in ("good", "bad", "bad", "good"):
        broker.publish(TOPIC, "k", value.encode())
    watching, working = asyncio.Event(), asyncio.Event()
    watcher = asyncio.create_task(watch(broker, TOPIC, "g", watching))
    await until("lag_messages", 4, group="g")

    async def handle(message: Message) -> None:
        if message.value == b"bad":
            raise InvalidInputError("no")

    worker = asyncio.create_task(consume(broker, TOPIC, "g", handle, drain=working))
    await until("lag_messages", 0, group="g")
    await until("dead_letters", 2)
    dead_letters.drop(broker, TOPIC, dead_letters.open_letters(broker, TOPIC)[0])
    await until("dead_letters", 1)
    for drain in (watching, working):
        drain.set()
    await asyncio.wait_for(asyncio.gather(watcher, worker), 10)


async def test_retries_and_outcomes_are_counted(broker: SqliteBroker) -> None:
    """A message that fails twice and then succeeds is two retries and one handled."""
    before = figure("retries_total"), figure("messages_total", outcome="handled")
    broker.publish(TOPIC, "k", b"")
    drain, failures = asyncio.Event(), [OSError(), OSError()]

    async def handle(_: Message) -> None:
        if failures:
            raise failures.pop()
        drain.set()

    await asyncio.wait_for(consume(broker, TOPIC, "g", handle, drain=drain, backoff_seconds=0.01), 10)
    after = figure("retries_total"), figure("messages_total", outcome="handled")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
    assert figure("in_flight_messages") == 0


async def test_a_broker_that_fails_is_looked_at_again(broker: SqliteBroker) -> None:
    """A topic that does not exist yet ends no watch: its lag is told once it does."""
    drain = asyncio.Event()
    watcher = asyncio.create_task(watch(broker, "later", "g", drain))
    await asyncio.sleep(0.1)
    broker.create_topic("later", 1)
    broker.publish("later", "k", b"")
    async with asyncio.timeout(10):
        while REGISTRY.get_sample_value("retrograde_worker_lag_messages", {"topic": "later", "group": "g"}) != 1:
            await asyncio.sleep(0.01)
    drain.set()
    await asyncio.wait_for(watcher, 10)


class WithoutLetters:
    """A broker with 4 messages to handle, whose topic for dead letters is missing."""

    def __init__(self) -> None:
        self.num_counts = 0

    def lag(self, topic: str, _group: str) -> int:
        if topic == TOPIC:
            return 4
        self.num_counts += 1
        raise NotFoundError(f"no topic {topic!r}")


async def test_a_lag_stands_without_a_topic_for_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be counted there are no dead letters; what waits is told as it is."""
    monkeypatch.setattr(worker_watch, "LOOK_EVERY_SECONDS", 0.02)
    drain, broker = asyncio.Event(), WithoutLetters()
    watcher = asyncio.create_task(watch(broker, TOPIC, "alone", drain))  # type: ignore[arg-type]  # as much as is used
    async with asyncio.timeout(30):
        while not broker.num_counts:
            await asyncio.sleep(0.01)
    drain.set()
    await asyncio.wait_for(watcher, 30)
    assert (figure("lag_messages", group="alone"), figure("dead_letters")) == (4, 0)
