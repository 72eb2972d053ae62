"""A real Kafka that is stopped, killed and frozen under its clients: calls end, and go on when it is back."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters import kafka_broker, kafka_client, kafka_consumer, open_broker
from retrograde.runtime.errors import FencedError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from retrograde.cli.servers.kafka_server import KafkaServer
    from retrograde.runtime.broker import Broker, Consumer, Message

pytestmark = pytest.mark.kafka
TOPIC = "t"


@pytest.fixture
def broker(own_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """With less patience than production has."""
    monkeypatch.setattr(kafka_broker, "PUBLISH_SECONDS", 3.0)
    monkeypatch.setattr(kafka_client, "REQUEST_SECONDS", 2.0)
    with contextlib.closing(open_broker(own_kafka.url + "?session_seconds=2")) as broker:
        broker.create_topic(TOPIC, 2)
        yield broker


def patiently(call: Callable[[], object], seconds: float = 30.0) -> None:
    """Calls until it is not unavailable any more."""
    end = time.monotonic() + seconds
    while True:
        try:
            call()
        except UnavailableError:
            assert time.monotonic() < end, "it stayed unavailable"
        else:
            return


def until(condition: Callable[[], bool]) -> None:
    """Waits for it, a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def read_until(broker: Broker, wanted: set[bytes]) -> set[bytes]:
    """What the topic holds, read until all of `wanted` is there, for a minute at most."""
    got: set[bytes] = set()
    end = time.monotonic() + 60
    with contextlib.closing(broker.consumer(TOPIC, uuid.uuid4().hex)) as consumer:
        while not wanted <= got and time.monotonic() < end:
            got |= {message.value for message in consumer.poll(0.5, 100)}
    return got


@pytest.mark.parametrize("down", ["kill", "freeze"])
def test_every_call_ends_while_the_broker_is_away(
    own_kafka: KafkaServer, broker: Broker, down: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed or frozen: publish, commit, lag, consumer and close raise UnavailableError or return, and none hangs."""
    broker.publish(TOPIC, "k", b"1")
    with contextlib.closing(broker.consumer(TOPIC, "g")) as consumer:
        (message,) = consumer.poll(60)
        getattr(own_kafka, down)()
        monkeypatch.setattr(kafka_client, "BOOTSTRAP_SECONDS", 2.0)
        monkeypatch.setattr(kafka_consumer, "_COMMIT_SECONDS", 2.0)
        calls: list[Callable[[], object]] = [
            lambda: broker.publish(TOPIC, "k", b"2"),
            lambda: consumer.commit(message),
            lambda: broker.lag(TOPIC, "g"),
            lambda: broker.create_topic("u", 1),
            lambda: broker.consumer(TOPIC, "h"),
        ]
        for call in calls:
            started = time.monotonic()
            with pytest.raises(UnavailableError):
                call()
            assert time.monotonic() - started < 60
        with contextlib.suppress(UnavailableError):
            assert consumer.poll(0.1) == []
    if down == "freeze":
        own_kafka.thaw()


def committed_to(consumer: Consumer, value: bytes) -> bool:
    """Takes and commits until `value` is committed; what is fenced, for the broker forgot the member, comes again."""
    taken: list[Message] = []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(UnavailableError):
            taken += consumer.poll(0.5, 10)
            try:
                for message in taken[-1:]:
                    consumer.commit(message)
            except FencedError:
                taken.clear()
            if taken and taken[-1].value == value:
                return True
    return False


def test_clients_go_on_when_the_broker_is_back(own_kafka: KafkaServer, broker: Broker) -> None:
    """After a kill and a restart the same producer, consumer and admin client work; nothing acknowledged is lost."""
    broker.publish(TOPIC, "k", b"before")
    with contextlib.closing(broker.consumer(TOPIC, "g")) as consumer:
        assert len(consumer.poll(60)) == 1
        own_kafka.kill()
        with pytest.raises(UnavailableError):
            broker.publish(TOPIC, "k", b"lost or not")
        own_kafka.start()
        patiently(lambda: broker.publish(TOPIC, "k", b"after"))
        assert committed_to(consumer, b"after")
        lags: list[int] = []
        patiently(lambda: lags.append(broker.lag(TOPIC, "g")))  # its client may learn of the broker's return last
        assert lags == [0]


def test_a_restart_under_several_writers_loses_nothing(own_kafka: KafkaServer, broker: Broker) -> None:
    """Three threads publish through one producer while the broker restarts: what was acknowledged is there."""
    acknowledged: set[bytes] = set()
    stop = threading.Event()

    def write(name: str) -> None:
        number = 0
        while not stop.is_set():
            value = f"{name}-{number}".encode()
            patiently(lambda value=value: broker.publish(TOPIC, name, value), 60)  # type: ignore[misc]
            acknowledged.add(value)
            number += 1

    writers = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for writer in writers:
        writer.start()
    try:
        until(lambda: len(acknowledged) > 10)
        own_kafka.restart()
        num_before = len(acknowledged)
        until(lambda: len(acknowledged) > num_before + 10)
    finally:
        stop.set()
        for writer in writers:
            writer.join(120)
    assert acknowledged - read_until(broker, acknowledged) == set()


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_long_outage_leaves_neither_memory_nor_threads_behind(
    own_kafka: KafkaServer, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty publishes of half a megabyte and forty joins fail: no thread is left, and no more than 8 MiB."""
    broker.publish(TOPIC, "k", b"1")
    own_kafka.kill()
    monkeypatch.setattr(kafka_broker, "PUBLISH_SECONDS", 0.1)
    monkeypatch.setattr(kafka_client, "BOOTSTRAP_SECONDS", 0.1)

    def fail(count: int) -> None:
        for _ in range(count):
            with pytest.raises(UnavailableError):
                broker.publish(TOPIC, "k", bytes(500_000))
            with pytest.raises(UnavailableError):
                broker.consumer(TOPIC, "g")

    fail(5)
    threads, before = threading.active_count(), resident_bytes()
    fail(40)
    assert resident_bytes() - before < 8 << 20
    until(lambda: threading.active_count() <= threads)
