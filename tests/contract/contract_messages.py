"""Taking messages from a consumer, as contract tests do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrograde.runtime.broker import Consumer, Message

SESSION_SECONDS = 3.0
"""As short as a loaded machine allows: a member that lives is heard of in that time."""


def take(consumer: Consumer, count: int) -> list[Message]:
    """`count` messages, within a minute."""
    messages: list[Message] = []
    deadline = time.monotonic() + 60
    while len(messages) < count and time.monotonic() < deadline:
        messages += consumer.poll(0.2, count - len(messages))
    return messages


def take_all(consumer: Consumer, count: int) -> list[Message]:
    """`count` messages, and what comes beyond them."""
    messages = take(consumer, count)
    while more := consumer.poll(1.0, 1000):
        messages += more
    return messages


def values(messages: list[Message]) -> list[str]:
    return [message.value.decode() for message in messages]
