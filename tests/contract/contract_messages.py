"""Taking messages from a consumer, as contract tests do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrograde.runtime.broker import Consumer, Message


def take(consumer: Consumer, count: int) -> list[Message]:
    """`count` messages, within ten seconds."""
    messages: list[Message] = []
    deadline = time.monotonic() + 10
    while len(messages) < count and time.monotonic() < deadline:
        messages += consumer.poll(0.2, count - len(messages))
    return messages


def everything(consumer: Consumer) -> list[Message]:
    """All there is now."""
    messages: list[Message] = []
    while more := consumer.poll(1.0, 1000):
        messages += more
    return messages


def values(messages: list[Message]) -> list[str]:
    return [message.value.decode() for message in messages]
