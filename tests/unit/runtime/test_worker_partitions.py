"""What the worker loop does when its partitions go and come back, and when its event loop is held up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime import member as members
from retrograde.runtime import worker
from retrograde.runtime.broker import Message
from retrograde.runtime.errors import FencedError, RetrogradeError, UnavailableError
from retrograde.runtime.member import joined
from retrograde.runtime.worker import consume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass
class Scripted:
    """A broker with one consumer, both this object: the test says what is there to poll and which partitions it holds.

    `refusals` are raised by the commits to come, one each.
    """

    held: set[int] = field(default_factory=lambda: {0, 1})
    ready: list[Message] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    join_refusals: list[Exception] = field(default_factory=list)
    commits: list[tuple[int, int]] = field(default_factory=list)
    polls: list[int] = field(default_factory=list)
    closed: bool = False

    def consumer(self, topic: str, group: str) -> Scripted:
        if self.join_refusals:
            raise self.join_refusals.pop(0)
        return self

    def poll(self, timeout_seconds: float, max_messages: int = 1) -> list[Message]:
        self.polls.append(max_messages)
        taken, self.ready = self.ready[:max_messages], self.ready[max_messages:]
        if not taken:
            time.sleep(min(timeout_seconds, 0.01))
        return taken

    def commit(self, message: Message) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.commits.append((message.partition, message.offset))

    def assignment(self) -> Sequence[int]:
        return sorted(self.held)

    def close(self) -> None:
        self.closed = True


class Handler:
    """Notes what begins and ends; `held` messages wait for `release`, and when cancelled for `may_end`."""

    def __init__(self, *held: str) -> None:
        self.events: list[str] = []
        self.release = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._held = held

    async def handle(self, message: Message) -> None:
        name = f"{message.partition}/{message.offset}"
        self.events.append(f"begin {name}")
        try:
            if name in self._held:
                await self.release.wait()
        except asyncio.CancelledError:
            self.events.append(f"cancelled {name}")
            await self.may_end.wait()
            raise
        finally:
            self.events.append(f"end {name}")

    async def until(self, *events: str) -> None:
        async with asyncio.timeout(10):
            while not set(events) <= set(self.events):
                await asyncio.sleep(0.005)


def messages(partition: int, offsets: Iterable[int]) -> list[Message]:
    return [Message("t", partition, offset, "k", b"") for offset in offsets]


def start(broker: Scripted, handler: Handler) -> tuple[asyncio.Task[None], asyncio.Event]:
    drain = asyncio.Event()
    run = consume(broker, "t", "g", handler.handle, drain=drain, max_in_flight=8, backoff_seconds=0.01)  # type: ignore[arg-type]
    return asyncio.create_task(run), drain


async def end(task: asyncio.Task[None], drain: asyncio.Event) -> None:
    drain.set()
    await asyncio.wait_for(task, 10)


async def test_the_handlers_of_a_lost_partition_are_cancelled_and_nothing_of_it_is_committed() -> None:
    """Partition 0 goes: its handler is cancelled, what is done behind it stays uncommitted; partition 1 goes on."""
    broker, handler = Scripted(ready=[*messages(0, [5, 6]), *messages(1, [7])]), Handler("0/5", "1/7")
    task, drain = start(broker, handler)
    await handler.until("begin 0/5", "end 0/6", "begin 1/7")
    broker.held = {1}
    await handler.until("cancelled 0/5")
    handler.release.set()
    await handler.until("end 1/7")
    await end(task, drain)
    assert broker.commits == [(1, 7)]


async def test_a_message_that_comes_back_waits_until_its_cancelled_handler_has_ended() -> None:
    """Lost, and delivered again while the first handling still ends: the second begins after it, and is committed."""
    broker, handler = Scripted(ready=messages(0, [5])), Handler("0/5")
    handler.may_end.clear()
    task, drain = start(broker, handler)
    await handler.until("begin 0/5")
    broker.held = {1}
    await handler.until("cancelled 0/5")
    broker.held, broker.ready = {0, 1}, messages(0, [5, 6])
    await handler.until("end 0/6")
    assert handler.events.count("begin 0/5") == 1
    handler.release.set()
    handler.may_end.set()
    async with asyncio.timeout(10):
        while broker.commits != [(0, 6)]:
            await asyncio.sleep(0.005)
    await end(task, drain)
    assert [each for each in handler.events if each.endswith("/5")] == [
        "begin 0/5",
        "cancelled 0/5",
        "end 0/5",
        "begin 0/5",
        "end 0/5",
    ]


async def test_a_redelivery_of_what_is_being_handled_begins_nothing() -> None:
    """A partition that went and came back between two polls brings its message again: one handling, one commit."""
    broker, handler = Scripted(ready=messages(0, [5])), Handler("0/5")
    task, drain = start(broker, handler)
    await handler.until("begin 0/5")
    broker.ready = messages(0, [5, 6])
    await handler.until("end 0/6")
    handler.release.set()
    await handler.until("end 0/5")
    await end(task, drain)
    assert handler.events == ["begin 0/5", "begin 0/6", "end 0/6", "end 0/5"]
    assert broker.commits[-1] == (0, 6)


async def test_a_fenced_commit_is_asked_again_while_the_partition_is_held() -> None:
    """FencedError, as in the middle of a rebalance, ends nothing: with the partition still held the commit follows."""
    broker, handler = Scripted(ready=messages(0, [5]), refusals=[FencedError("moving")]), Handler()
    task, drain = start(broker, handler)
    async with asyncio.timeout(10):
        while not broker.commits:
            await asyncio.sleep(0.01)
    await end(task, drain)
    assert (broker.commits, handler.events) == ([(0, 5)], ["begin 0/5", "end 0/5"])


async def test_a_commit_that_stays_fenced_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another member had the partition in between and committed: it is not asked for ever, and later commits are."""
    monkeypatch.setattr(worker, "_FENCED_SECONDS", 0.0)
    broker, handler = Scripted(ready=messages(0, [5]), refusals=[FencedError("moved"), FencedError("moved")]), Handler()
    task, drain = start(broker, handler)
    async with asyncio.timeout(10):
        while broker.refusals:
            await asyncio.sleep(0.01)
    broker.ready = messages(0, [6])
    await handler.until("end 0/6")
    await end(task, drain)
    assert broker.commits == [(0, 6)]


async def test_a_broker_that_is_away_at_the_start_is_waited_for() -> None:
    """Two refused joins, then the message is handled."""
    broker, handler = Scripted(ready=messages(0, [5])), Handler()
    broker.join_refusals = [UnavailableError("away"), UnavailableError("away")]
    task, drain = start(broker, handler)
    await handler.until("end 0/5")
    await end(task, drain)
    assert broker.commits == [(0, 5)]


def hold_up_until(condition: Callable[[], bool]) -> None:
    """Blocks the event loop meanwhile; fails after ten seconds."""
    give_up = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.01)


async def test_polls_go_on_while_the_event_loop_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler blocks the loop: the member's own thread keeps polling, and takes nothing."""
    monkeypatch.setattr(members, "IDLE_SECONDS", 0.05)
    broker, drain = Scripted(ready=messages(0, [5])), asyncio.Event()

    async def handle(_: Message) -> None:
        began, broker.ready = len(broker.polls), messages(0, [6])
        hold_up_until(lambda: len(broker.polls) >= began + 3)
        num_left.append(len(broker.ready))
        drain.set()

    num_left: list[int] = []
    await asyncio.wait_for(consume(broker, "t", "g", handle, drain=drain), 10)  # type: ignore[arg-type]
    assert num_left == [1]


async def test_a_loop_that_stands_still_gives_its_partitions_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `standstill_seconds` without a turn the thread leaves the group, and the next turn says why."""
    monkeypatch.setattr(members, "IDLE_SECONDS", 0.02)
    broker = Scripted()
    async with joined(broker, "t", "g", standstill_seconds=0.1) as member:  # type: ignore[arg-type]
        await member.turn([], 0.0, 1)
        hold_up_until(lambda: broker.closed)
        with pytest.raises(RetrogradeError, match="stood still"):
            await member.turn([], 0.0, 1)
