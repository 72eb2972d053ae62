"""The ids of a cause go on with its effects."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from retrograde.runtime import tracing
from retrograde.runtime.adapters.sqlite_broker import SqliteBroker
from retrograde.runtime.broker import Message
from retrograde.runtime.traced_broker import TracedBroker
from retrograde.runtime.tracing import Trace
from retrograde.runtime.worker import consume

TRACE = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "r-1")


async def test_ids_follow_into_tasks_and_threads() -> None:
    """A task and a thread started inside carry the ids bound there; outside they are gone."""

    async def in_task() -> dict[str, str]:
        return tracing.carried()

    with tracing.bound(TRACE):
        seen = [tracing.carried(), await asyncio.create_task(in_task()), await asyncio.to_thread(tracing.carried)]
    assert seen == [TRACE.headers] * 3
    assert tracing.carried()["x-request-id"] != "r-1"


def test_without_a_cause_each_effect_begins_a_trace() -> None:
    """Where nothing is bound the ids are well-formed and new every time."""
    first, second = tracing.carried(), tracing.carried()
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", first["traceparent"])
    assert re.fullmatch(r"[0-9a-f]{32}", first["x-request-id"])
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00-a-b-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
    ],
)
def test_a_malformed_traceparent_is_replaced(traceparent: str) -> None:
    """What the standard calls invalid is not sent on; the request id beside it stays."""
    trace = tracing.trace_of({"traceparent": traceparent, "x-request-id": "r-1"})
    assert trace.request_id == "r-1"
    assert trace.traceparent != traceparent
    assert tracing.trace_of(trace.headers) == trace


@pytest.mark.parametrize("request_id", ["", "x" * 129, "two words", "line\nbreak", "\u00fc"])
def test_a_request_id_that_cannot_be_a_header_is_replaced(request_id: str) -> None:
    """Empty, long or unprintable ids are not sent on; the traceparent beside them stays."""
    trace = tracing.trace_of({**TRACE.headers, "x-request-id": request_id})
    assert trace.traceparent == TRACE.traceparent
    assert re.fullmatch(r"[0-9a-f]{32}", trace.request_id)


async def test_a_message_s_ids_are_those_of_what_its_handler_publishes(tmp_path: Path) -> None:
    """From the publisher through a worker to the next topic, and to the dead letters, the ids are the same."""
    broker = TracedBroker(lambda: SqliteBroker(tmp_path / "b.db"))
    broker.open()
    for topic in ("first", "second"):
        broker.create_topic(topic, 1)
    drain = asyncio.Event()

    async def handle(message: Message) -> None:
        await asyncio.to_thread(broker.publish, "second", message.key, message.value, {"more": "kept"})
        drain.set()
        raise ValueError

    with tracing.bound(TRACE):
        broker.publish("first", "k", b"v")
    await asyncio.wait_for(consume(broker, "first", "g", handle, drain=drain, max_attempts=1), 20)
    headers = {topic: _headers(broker, topic) for topic in ("first", "second", "first.dlq")}
    broker.close()
    assert headers["first"] == TRACE.headers
    assert headers["second"] == {**TRACE.headers, "more": "kept"}
    assert TRACE.headers.items() <= headers["first.dlq"].items()


async def test_all_attempts_at_a_message_without_ids_share_new_ones(tmp_path: Path) -> None:
    """A message that came without ids is handled under the same new ones at every attempt."""
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic("first", 1)
    broker.publish("first", "k", b"v")
    drain = asyncio.Event()
    seen: list[dict[str, str]] = []

    async def handle(_message: Message) -> None:
        seen.append(tracing.carried())
        if len(seen) == 1:
            raise ValueError
        drain.set()

    await asyncio.wait_for(consume(broker, "first", "g", handle, drain=drain, backoff_seconds=0.01), 20)
    broker.close()
    assert len(seen) == 2
    assert seen[0] == seen[1]


def _headers(broker: TracedBroker, topic: str) -> Mapping[str, str]:
    consumer = broker.consumer(topic, "reader")
    (message,) = consumer.poll(5)
    consumer.close()
    return dict(message.headers)
