"""What every broker takes: names, and the size of a message.

The same everywhere, so that a laptop refuses what a cluster would.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from retrograde.runtime.broker import DLQ_SUFFIX, MAX_MESSAGE_BYTES
from retrograde.runtime.errors import InvalidInputError

DEAD_LETTER_BYTES = 1 << 16
"""More that a dead letter may have: the headers that say why."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def check_name(what: str, name: str) -> None:
    """Raises InvalidInputError for a name of a topic or group that no broker could hold."""
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise InvalidInputError(f"{what} {name!r}: write 1 to 249 of letters, digits, '.', '_' and '-'")


def check_topic(topic: str, num_partitions: int) -> None:
    """Raises InvalidInputError for a topic that cannot be made; its `.dlq` must have a name too."""
    check_name("topic", topic)
    check_name("topic", topic + DLQ_SUFFIX)
    if num_partitions < 1:
        raise InvalidInputError(f"num_partitions of {topic!r} is {num_partitions}; write at least 1")


def check_size(topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
    """Raises InvalidInputError for a message that is too large for its topic."""
    num_bytes = len(key.encode()) + len(value)
    num_bytes += sum(len(name.encode()) + len(text.encode()) for name, text in headers.items())
    if num_bytes > max_bytes(topic):
        raise InvalidInputError(
            f"a message for {topic!r} with key {key[:80]!r} has {num_bytes:,} bytes, at most {max_bytes(topic):,} are "
            "taken; put the content into the object store and publish its key"
        )


def max_bytes(topic: str) -> int:
    """Key, value and headers together."""
    return MAX_MESSAGE_BYTES + DEAD_LETTER_BYTES * topic.endswith(DLQ_SUFFIX)
