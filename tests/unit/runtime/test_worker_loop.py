"""The worker loop's promises, one by one, on a real SQLite broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters.sqlite_broker import SqliteBroker
from retrograde.runtime.adapters.sqlite_consumer import SqliteConsumer
from retrograde.runtime.attempts import Attempts
from retrograde.runtime.errors import FencedError, InvalidInputError, NotFoundError, UnavailableError
from retrograde.runtime.worker import HandBackError, consume

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from retrograde.runtime.broker import Message

TOPIC = "t"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SqliteBroker]:
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic(TOPIC, 1)
    yield broker
    broker.close()


class Scripted:
    """A handler that does what its script says for a value, call by call (None: succeed); drains after `num_ends`."""

    def __init__(self, script: dict[str, list[BaseException | None]], num_ends: int) -> None:
        self.calls: list[str] = []
        self.drain = asyncio.Event()
        self._script = script
        self._left = num_ends

    async def handle(self, message: Message) -> None:
        value = message.value.decode()
        self.calls.append(value)
        errors = self._script.get(value, [])
        error = errors.pop(0) if errors else None
        if not errors:
            self._left -= 1
        if not self._left:
            self.drain.set()
        if error:
            raise error


async def loop(
    broker: SqliteBroker, handle: Callable[[Message], Awaitable[None]], drain: asyncio.Event, **how: int
) -> None:
    await asyncio.wait_for(consume(broker, TOPIC, "g", handle, drain=drain, backoff_seconds=0.01, **how), 20)


def publish(broker: SqliteBroker, *values: str, key: str = "k") -> None:
    for value in values:
        broker.publish(TOPIC, key, value.encode())


def dead(broker: SqliteBroker) -> list[tuple[str, str, str]]:
    """Value, attempts and error type of each dead letter."""
    consumer = broker.consumer(TOPIC + ".dlq", "readers")
    messages = consumer.poll(0.1, 100)
    consumer.close()
    return [(each.value.decode(), each.headers["x-attempt"], each.headers["x-error-type"]) for each in messages]


async def test_messages_are_handled_in_order_and_committed(broker: SqliteBroker) -> None:
    """One at a time by default, in order; afterwards nothing is left."""
    publish(broker, "a", "b", "c")
    script = Scripted({}, 3)
    await loop(broker, script.handle, script.drain)
    assert script.calls == ["a", "b", "c"]
    assert broker.lag(TOPIC, "g") == 0


async def test_a_failure_is_tried_again(broker: SqliteBroker) -> None:
    """A handler that fails twice and then succeeds counts as handled."""
    publish(broker, "a")
    script = Scripted({"a": [OSError("1"), OSError("2"), None]}, 1)
    await loop(broker, script.handle, script.drain)
    assert script.calls == ["a", "a", "a"]
    assert (broker.lag(TOPIC, "g"), dead(broker)) == (0, [])


async def test_after_max_attempts_a_message_is_dead(broker: SqliteBroker) -> None:
    """The third failure goes to the dead-letter topic, and the next message is handled."""
    publish(broker, "bad", "good")
    script = Scripted({"bad": [OSError("1"), OSError("2"), OSError("3")]}, 2)
    await loop(broker, script.handle, script.drain)
    assert script.calls == ["bad", "bad", "bad", "good"]
    assert (broker.lag(TOPIC, "g"), dead(broker)) == (0, [("bad", "3", "OSError")])


async def test_bad_input_is_dead_at_once(broker: SqliteBroker) -> None:
    """InvalidInputError is not tried again: the message will not get better."""
    publish(broker, "bad")
    script = Scripted({"bad": [InvalidInputError("no")]}, 1)
    await loop(broker, script.handle, script.drain)
    assert (script.calls, dead(broker)) == (["bad"], [("bad", "1", "InvalidInputError")])


async def test_an_absent_peer_is_waited_for(broker: SqliteBroker) -> None:
    """UnavailableError counts no attempt: after four of them and two failures the message is still handled."""
    publish(broker, "a")
    away = [UnavailableError("away") for _ in range(4)]
    script = Scripted({"a": [*away, OSError("1"), OSError("2"), None]}, 1)
    await loop(broker, script.handle, script.drain)
    assert len(script.calls) == 7
    assert (broker.lag(TOPIC, "g"), dead(broker)) == (0, [])


async def test_no_more_in_flight_than_told(broker: SqliteBroker) -> None:
    """At most max_in_flight handlers run at once, and that many do."""
    publish(broker, *"abcdefgh")
    running, most, left, drain = 0, 0, 8, asyncio.Event()

    async def handle(_: Message) -> None:
        nonlocal running, most, left
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        left -= 1
        if not left:
            drain.set()

    await loop(broker, handle, drain, max_in_flight=3)
    assert most == 3


async def test_commits_wait_for_the_slowest(broker: SqliteBroker) -> None:
    """While the first message is being handled, later ones that are done stay uncommitted."""
    publish(broker, "slow", "b", "c")
    release, drain, handled = asyncio.Event(), asyncio.Event(), []

    async def handle(message: Message) -> None:
        if message.value == b"slow":
            await release.wait()
        handled.append(message.value)
        if len(handled) == 2:
            await asyncio.sleep(0.3)
            assert broker.lag(TOPIC, "g") == 3
            release.set()
        drain.set() if len(handled) == 3 else None

    await loop(broker, handle, drain, max_in_flight=3)
    assert broker.lag(TOPIC, "g") == 0


async def test_the_drain_lets_work_in_flight_end(broker: SqliteBroker) -> None:
    """After drain is set, the handler in flight ends and is committed; nothing new is begun."""
    publish(broker, "a", "b")
    drain, calls = asyncio.Event(), []

    async def handle(message: Message) -> None:
        calls.append(message.value)
        drain.set()
        await asyncio.sleep(0.3)

    await loop(broker, handle, drain)
    assert calls == [b"a"]
    assert broker.lag(TOPIC, "g") == 1


async def test_the_drain_gives_back_what_waits_to_be_tried_again(broker: SqliteBroker) -> None:
    """A message in back-off is not waited for: it stays uncommitted, and no dead letter is made of it."""
    publish(broker, "a")
    drain = asyncio.Event()

    async def handle(_: Message) -> None:
        asyncio.get_running_loop().call_later(0.1, drain.set)
        raise UnavailableError("away")

    await asyncio.wait_for(consume(broker, TOPIC, "g", handle, drain=drain, backoff_seconds=100), 10)
    assert (broker.lag(TOPIC, "g"), dead(broker)) == (1, [])


async def test_a_handler_may_hand_back(broker: SqliteBroker) -> None:
    """HandBackError leaves the message for another member."""
    publish(broker, "a")
    drain = asyncio.Event()

    async def handle(_: Message) -> None:
        drain.set()
        raise HandBackError

    await loop(broker, handle, drain)
    assert (broker.lag(TOPIC, "g"), dead(broker)) == (1, [])


async def test_a_hand_back_without_a_drain_is_tried_again(broker: SqliteBroker) -> None:
    """HandBackError while nobody drains does not leave the message lying: it is handled later."""
    publish(broker, "a")
    script = Scripted({"a": [HandBackError(), None]}, 1)
    await loop(broker, script.handle, script.drain)
    assert (script.calls, broker.lag(TOPIC, "g")) == (["a", "a"], 0)


async def test_a_cancellation_inside_the_handler_is_tried_again(broker: SqliteBroker) -> None:
    """Work that something else cancelled (not the loop) does not leave the message lying."""
    publish(broker, "a")
    script = Scripted({"a": [asyncio.CancelledError(), None]}, 1)
    await loop(broker, script.handle, script.drain)
    assert (script.calls, broker.lag(TOPIC, "g")) == (["a", "a"], 0)


async def test_cancelling_commits_what_is_done_and_leaves_the_group(broker: SqliteBroker) -> None:
    """A cancelled loop cancels its handlers, commits finished work, and its partitions are free at once."""
    publish(broker, "done", "stuck", "never")
    stuck, cancelled = asyncio.Event(), []

    async def handle(message: Message) -> None:
        if message.value == b"stuck":
            stuck.set()
            try:
                await asyncio.sleep(3600)
            finally:
                cancelled.append(message.value)

    task = asyncio.create_task(consume(broker, TOPIC, "g", handle, drain=asyncio.Event()))
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (cancelled, broker.lag(TOPIC, "g")) == ([b"stuck"], 2)
    successor = broker.consumer(TOPIC, "g")
    assert [message.value for message in successor.poll(1, 9)] == [b"stuck", b"never"]
    successor.close()


class Growing(SqliteBroker):
    """A broker whose topic is there, with a message, once somebody asked for it in vain."""

    def consumer(self, topic: str, group: str) -> SqliteConsumer:
        try:
            return super().consumer(topic, group)
        except NotFoundError:
            self.create_topic(TOPIC, 1)
            publish(self, "late")
            raise


async def test_a_topic_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """A cluster tells some of its members later than others what was made: that ends no worker."""
    broker = Growing(tmp_path / "growing.db")
    script = Scripted({}, 1)
    await loop(broker, script.handle, script.drain)
    assert (script.calls, broker.lag(TOPIC, "g")) == (["late"], 0)
    broker.close()


class Flaky(SqliteBroker):
    """A broker that fails its first publishes to the dead-letter topic, as a full disk would."""

    failures = 3

    def publish(self, topic: str, key: str, value: bytes, headers: object = None) -> None:
        if topic.endswith(".dlq") and self.failures:
            self.failures -= 1
            raise UnavailableError("disk full")
        super().publish(topic, key, value, headers)  # type: ignore[arg-type]


async def test_nothing_is_committed_before_its_dead_letter_is_safe(tmp_path: Path) -> None:
    """When the dead-letter topic does not take it, the loop tries until it does, and commits only then."""
    broker = Flaky(tmp_path / "flaky.db")
    broker.create_topic(TOPIC, 1)
    publish(broker, "bad", "good")
    script = Scripted({"bad": [InvalidInputError("no")]}, 2)
    await loop(broker, script.handle, script.drain)
    assert (broker.failures, broker.lag(TOPIC, "g"), dead(broker)) == (0, 0, [("bad", "1", "InvalidInputError")])
    broker.close()


async def test_a_lost_partition_s_work_is_dropped(broker: SqliteBroker, caplog: pytest.LogCaptureFixture) -> None:
    """When another member got the partition meanwhile, the commit is refused and the loop goes on."""
    publish(broker, "a")
    drain, started, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(_: Message) -> None:
        started.set()
        await release.wait()

    task = asyncio.create_task(consume(broker, TOPIC, "g", handle, drain=drain))
    await started.wait()
    broker._db.execute("UPDATE assignments SET member = 'thief', epoch = 99")
    caplog.set_level("INFO")
    release.set()
    await asyncio.sleep(0.1)
    drain.set()
    await asyncio.wait_for(task, 10)
    assert "partition lost" in caplog.text
    assert broker.lag(TOPIC, "g") == 1


async def test_a_fenced_handler_is_tried_again(broker: SqliteBroker) -> None:
    """FencedError from the work itself (another holds the tree) is retried like any failure, then dead-lettered."""
    publish(broker, "a")
    script = Scripted({"a": [FencedError("epoch 2"), FencedError("epoch 3"), FencedError("epoch 4")]}, 1)
    await loop(broker, script.handle, script.drain)
    assert dead(broker) == [("a", "3", "FencedError")]


def test_back_off_doubles_to_a_limit() -> None:
    """Pauses double from backoff_seconds to half a minute, each between half and all of it."""
    attempts = Attempts(None, TOPIC, None, asyncio.Event(), 3, 1.0, 9.0)  # type: ignore[arg-type]
    for failures, most in ((1, 1.0), (2, 2.0), (3, 4.0), (6, 30.0), (1000, 30.0)):
        pauses = [attempts.pause_seconds(failures) for _ in range(50)]
        assert most / 2 <= min(pauses)
        assert max(pauses) <= most
    assert max(attempts.pause_seconds(1000, 5.0) for _ in range(50)) <= 5.0
