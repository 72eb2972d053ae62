"""Every adapter of a port, one by one, for one suite; child processes that can really be killed.

A new adapter joins by one more entry of `_BROKERS` or `_STORES`: a function to a URL that nobody used before.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from contract_child import Child
from contract_messages import SESSION_SECONDS

from retrograde.runtime.adapters import open_broker, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from retrograde.runtime.broker import Broker, Consumer
    from retrograde.runtime.objects import ObjectStore

_BROKERS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": lambda request: f"sqlite://{request.getfixturevalue('tmp_path')}/broker.db",
    "kafka": lambda request: request.getfixturevalue("kafka_server").url,
}
_STORES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "file": lambda request: f"file://{request.getfixturevalue('tmp_path')}/store",
    "s3": lambda request: request.getfixturevalue("minio_server").url(f"contract-{uuid.uuid4().hex}"),
}


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_url(request: pytest.FixtureRequest) -> str:
    return f"{_BROKERS[request.param](request)}?session_seconds={SESSION_SECONDS}"


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.minio)])
def store_url(request: pytest.FixtureRequest) -> str:
    return _STORES[request.param](request)


@pytest.fixture
def broker(broker_url: str) -> Iterator[Broker]:
    with contextlib.closing(open_broker(broker_url)) as broker:
        yield broker


@pytest.fixture
def store(store_url: str) -> ObjectStore:
    return open_store(store_url)


@pytest.fixture
def topic(broker: Broker) -> str:
    """A topic of four partitions that nobody used before."""
    name = f"contract.{uuid.uuid4().hex}"
    broker.create_topic(name, 4)
    return name


@pytest.fixture
def join(broker: Broker, topic: str) -> Iterator[Callable[..., Consumer]]:
    """Makes members of a group on `topic` (`join()`, `join("other-group")`) that leave with the test."""
    with contextlib.ExitStack() as stack:

        def make(group: str = "group") -> Consumer:
            consumer = broker.consumer(topic, group)
            stack.callback(consumer.close)
            return consumer

        yield make


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """Starts programs of contract_programs.py; what still runs when the test ends is killed."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Child:
            child = Child(*arguments)
            stack.callback(child.close)
            return child

        yield start


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds; fails after a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.02)

    return wait
