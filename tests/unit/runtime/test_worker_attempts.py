"""Deadlines and dead letters of single messages."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.attempts import Attempts, Outcome
from retrograde.runtime.broker import Message
from retrograde.runtime.dead_letters import MAX_ERROR_CHARACTERS, harmless

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MESSAGE = Message("t", 3, 8, "k", b"\x00value", {"own": "header"}, 12.5)


class Letters:
    """A broker that takes what is published; its first publishes fail as told."""

    def __init__(self, *refusals: Exception) -> None:
        self.published: list[tuple[str, str, bytes, Mapping[str, str]]] = []
        self._refusals = list(refusals)

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        if self._refusals:
            raise self._refusals.pop(0)
        self.published.append((topic, key, value, headers))


def attempts(
    handle: Callable[[Message], Awaitable[None]], broker: Letters | None = None, deadline_seconds: float = 9.0
) -> Attempts:
    drain = asyncio.Event()
    return Attempts(broker or Letters(), "t", handle, drain, 2, 0.01, deadline_seconds)  # type: ignore[arg-type]


async def test_a_hung_handler_is_ended_at_its_deadline_and_dead_lettered() -> None:
    """Both attempts are cancelled at their deadline; the letter has the original bytes and names the reason."""
    cancelled, broker = 0, Letters()

    async def handle(_: Message) -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled += 1

    outcome = await asyncio.wait_for(attempts(handle, broker, deadline_seconds=0.2).settle(MESSAGE), 10)
    ((topic, key, value, headers),) = broker.published
    assert (outcome, cancelled, topic, key, value) == (Outcome.DEAD_LETTERED, 2, "t.dlq", "k", b"\x00value")
    assert headers["x-attempt"] == "2"
    assert headers["x-error-type"] == "DeadlineExceededError"
    assert headers["x-error-message"] == "not done after 0.2 s"


async def test_a_handler_that_will_not_end_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """One that swallows its cancellation does not hold its message past 1.1 deadlines an attempt."""
    release = asyncio.Event()

    async def handle(_: Message) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    began = asyncio.get_running_loop().time()
    outcome = await asyncio.wait_for(attempts(handle, deadline_seconds=0.5).settle(MESSAGE), 10)
    seconds = asyncio.get_running_loop().time() - began
    release.set()
    await asyncio.sleep(0)
    assert outcome is Outcome.DEAD_LETTERED
    assert seconds >= 1.1
    assert "left behind" in caplog.text


async def test_a_slow_handler_within_its_deadline_is_not_disturbed() -> None:
    """One attempt, handled."""
    calls: list[float] = []

    async def handle(_: Message) -> None:
        calls.append(time.monotonic())
        await asyncio.sleep(0.1)

    assert await attempts(handle).settle(MESSAGE) is Outcome.HANDLED
    assert len(calls) == 1


async def test_a_letter_that_is_not_taken_is_offered_again() -> None:
    """Whatever the broker says against the letter, it is published in the end: nothing is committed before."""
    broker = Letters(ValueError("too large"), OSError("disk full"))

    async def handle(_: Message) -> None:
        raise KeyError("no")

    assert await asyncio.wait_for(attempts(handle, broker).settle(MESSAGE), 10) is Outcome.DEAD_LETTERED
    assert [value for _, _, value, _ in broker.published] == [b"\x00value"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ümlaut", "plain, ümlaut"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ("turned \u202e around \ud800", "turned \\u202e around \\ud800"),
        ("x" * 2000, "x" * (MAX_ERROR_CHARACTERS - 1) + "…"),
        ("\n" * 900, "\\n" * 499 + "\\…"),
    ],
)
def test_error_messages_are_made_harmless(text: str, expected: str) -> None:
    """What would move a terminal's cursor is escaped, what no header can carry too, and the length is bounded."""
    assert harmless(text) == expected
