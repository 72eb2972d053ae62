"""What the worker loop promises on every broker."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.reading import everything
from retrograde.runtime.worker import consume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contract_child import Child

    from retrograde.runtime.broker import Broker, Message

ALL_BYTES = bytes(range(256))


async def committed(broker: Broker, topic: str) -> None:
    """Waits until the group has committed all there is."""
    while await asyncio.to_thread(broker.lag, topic, "group"):
        await asyncio.sleep(0.05)


async def test_a_bad_message_goes_to_the_dead_letter_topic_byte_identical(broker: Broker, topic: str) -> None:
    """Key, value and its own headers are kept; where it was, when, and why it failed are added."""
    broker.publish(topic, "schlüssel", ALL_BYTES, {"traceparent": "00-a-b-01"})
    drain = asyncio.Event()
    seen: list[Message] = []

    async def handle(message: Message) -> None:
        seen.append(message)
        drain.set()
        raise InvalidInputError("problem_id is empty; name one")

    await consume(broker, topic, "group", handle, drain=drain)
    (dead,) = everything(broker, topic + ".dlq")
    (original,) = seen
    assert (dead.key, dead.value) == ("schlüssel", ALL_BYTES)
    assert dict(dead.headers) == {
        "traceparent": "00-a-b-01",
        "x-original-topic": topic,
        "x-original-partition": str(original.partition),
        "x-original-offset": str(original.offset),
        "x-original-timestamp": repr(original.timestamp_seconds),
        "x-attempt": "1",
        "x-error-type": "InvalidInputError",
        "x-error-message": "problem_id is empty; name one",
    }
    assert broker.lag(topic, "group") == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_members_that_come_and_go_lose_nothing(broker: Broker, topic: str, seed: int) -> None:
    """Loops join, drain and are cancelled at random while messages come: every message is handled and committed."""
    rng = random.Random(seed)
    handled: set[str] = set()

    async def handle(message: Message) -> None:
        await asyncio.sleep(rng.uniform(0, 0.02))
        handled.add(message.value.decode())

    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:

        def join() -> tuple[asyncio.Task[None], asyncio.Event]:
            drain = asyncio.Event()
            loop = consume(broker, topic, "group", handle, drain=drain, max_in_flight=3)
            return tasks.create_task(loop), drain

        members = [join()]
        for number in range(90):
            await asyncio.to_thread(broker.publish, topic, f"k{number}", str(number).encode())
            if number % 10 == 5:
                members.append(join())
            elif number % 15 == 0:
                task, drain = members.pop(rng.randrange(len(members)))
                drain.set() if rng.random() < 0.5 else task.cancel()
                await asyncio.wait({task})
        await committed(broker, topic)
        for _, drain in members:
            drain.set()
    assert handled == {str(number) for number in range(90)}


async def test_two_loops_and_a_killed_process_handle_every_message(
    broker: Broker, broker_url: str, topic: str, spawn: Callable[..., Child]
) -> None:
    """With one of three workers killed in the middle of its tasks, every message is handled and committed."""
    for number in range(60):
        broker.publish(topic, f"k{number}", str(number).encode())
    victim = spawn("hang", broker_url, topic, "group")
    victim.line()
    drain, begun = asyncio.Event(), asyncio.Event()
    handled: set[str] = set()

    async def handle(message: Message) -> None:
        handled.add(message.value.decode())
        begun.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as loops:
        for _ in range(2):
            loops.create_task(consume(broker, topic, "group", handle, drain=drain, max_in_flight=4))
        await begun.wait()
        victim.kill()
        await committed(broker, topic)
        drain.set()
    assert handled == {str(number) for number in range(60)}


async def test_processes_that_join_leave_and_die_all_the_time_do_every_task(
    broker: Broker, broker_url: str, topic: str, spawn: Callable[..., Child], tmp_path: Path
) -> None:
    """From one worker to four: one drained and one killed at each change; each task has one effect, none is missing."""
    store_url = f"file://{tmp_path}/done"
    for number in range(400):
        broker.publish(topic, f"k{number}", str(number).encode())
    workers = [spawn("work", broker_url, topic, "group", store_url)]
    for leave in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        workers += [spawn("work", broker_url, topic, "group", store_url) for _ in range(2)]
        await asyncio.to_thread(workers[-1].line)
        await asyncio.sleep(0.2)
        workers.pop(0).signal(leave)
    async with asyncio.timeout(180):
        await committed(broker, topic)
    store = open_store(store_url)
    done = {key: store.get(key).decode() for key in store.list("done/")}
    assert done == {f"done/k{number}": str(number) for number in range(400)}
