"""A topic read whole, as it is now, beside whatever its consumers do."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from retrograde.runtime.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrograde.runtime.broker import Broker, Message

_POLL_SECONDS = 0.2
_MAX_MESSAGES = 1000
_MAX_EMPTY_POLLS = 150  # half a minute


def everything(broker: Broker, topic: str) -> Iterator[Message]:
    """All messages that `topic` holds now, each partition's in order; they stay there.

    Read as a group of its own that commits nothing. Raises UnavailableError when no more of them come for half a
    minute, NotFoundError when there is no such topic.
    """
    group = f"reader-{uuid.uuid4().hex}"
    left, num_empty = broker.lag(topic, group), 0
    consumer = broker.consumer(topic, group)
    try:
        while left > 0:
            messages = consumer.poll(_POLL_SECONDS, _MAX_MESSAGES)
            yield from messages
            left -= len(messages)
            num_empty = 0 if messages else num_empty + 1
            if num_empty > _MAX_EMPTY_POLLS:
                raise UnavailableError(f"{topic}: {left} messages did not come; is another broker of the cluster away?")
    finally:
        consumer.close()
