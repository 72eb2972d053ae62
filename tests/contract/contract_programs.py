"""The programs that contract tests start as processes of their own, to kill them.

`python contract_programs.py NAME ARG...`; contract_child is the other side. Each prints a line, flushed, when
something is done that the test may rely on.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.broker import Message
from retrograde.runtime.errors import RetrogradeError
from retrograde.runtime.worker import consume


def say(text: str) -> None:
    """One line the test can read at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def publish(url: str, topic: str, name: str, count: str) -> None:
    """Publishes name-0 .. name-(count-1) under the key `name`; says each one's text once it is acknowledged."""
    broker = open_broker(url)
    for number in range(int(count)):
        broker.publish(topic, name, f"{name}-{number}".encode())
        say(f"{name}-{number}")
    broker.close()


def hang(url: str, topic: str, group: str) -> None:
    """A worker that says which message it handles and never ends doing so."""

    async def handle(message: Message) -> None:
        say(message.value.decode())
        await asyncio.sleep(3600)

    asyncio.run(consume(open_broker(url), topic, group, handle, drain=asyncio.Event(), max_in_flight=2))


def work(url: str, topic: str, group: str, store_url: str) -> None:
    """A worker that stores each message's value under its key after 50 ms; it says that it begins; SIGTERM drains."""
    store = open_store(store_url)

    async def handle(message: Message) -> None:
        await asyncio.sleep(0.05)
        store.put(f"done/{message.key}", message.value)

    async def run() -> None:
        drain = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, drain.set)
        say("begun")
        await consume(open_broker(url), topic, group, handle, drain=drain, max_in_flight=4)

    asyncio.run(run())


def hold(url: str, topic: str, group: str) -> None:
    """A member that takes one message, holds it until it is told to go on, and says what its commit came to."""
    consumer = open_broker(url).consumer(topic, group)
    while not (messages := consumer.poll(1)):
        pass
    say(messages[0].value.decode())
    sys.stdin.readline()
    try:
        consumer.commit(messages[0])
        say("committed")
    except RetrogradeError as error:
        say(type(error).__name__)


def put(url: str, key: str, letter: str, num_bytes: str) -> None:
    """Writes `letter` * num_bytes over and over; says each time one is written."""
    store = open_store(url)
    data = letter.encode() * int(num_bytes)
    while True:
        store.put(key, data)
        say("put")


def upload(url: str, prefix: str, num_files: str, num_bytes: str) -> None:
    """Uploads one set of files after another, every file of a set holding the set's number; says each one's number."""
    store = open_store(url)
    for number in range(1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            for index in range(int(num_files)):
                content = hashlib.sha256(str(number).encode()).digest() * (int(num_bytes) // 32)
                Path(folder, f"part-{index}").write_bytes(content)
            store.upload(prefix, Path(folder))
        say(str(number))


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {
        "publish": publish,
        "hang": hang,
        "work": work,
        "hold": hold,
        "put": put,
        "upload": upload,
    }
    programs[sys.argv[1]](*sys.argv[2:])
