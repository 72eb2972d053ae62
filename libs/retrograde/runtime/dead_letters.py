"""Messages that were given up: how one is written, which are still open, and how one is settled.

`<topic>.dlq` is a log like any other: nothing is taken out of it. A letter is settled by a marker that is appended to
the same partition and names it (`x-settled: PARTITION:OFFSET replayed|dropped`); what has no marker is open. So the
topic itself tells what was done to each letter, every reader comes to the same answer, and no right to delete is
needed. Letters and markers go together when the topic's retention ends.

    replay   original bytes, key and headers to the original topic, with `x-replayed`  ->  marker
    drop     marker

A replay that is interrupted between the two is done again by the next one: handlers are idempotent.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.runtime.broker import DLQ_SUFFIX
from retrograde.runtime.reading import everything

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from retrograde.runtime.broker import Broker, Message

MAX_ERROR_CHARACTERS = 1000
_SETTLED = "x-settled"
_REPLAYED = "x-replayed"
_OURS = ("x-original-", "x-error-", "x-attempt", _SETTLED, _REPLAYED)
_MARKER = re.compile(r"(\d+):(\d+) (replayed|dropped)")


class Settlement(enum.StrEnum):
    """What was done to a letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a letter lies in its dead-letter topic; `str` gives PARTITION:OFFSET."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def dead_letter_headers(message: Message, attempts: int, error: Exception) -> Mapping[str, str]:
    """What is added to a message's own headers: where it was, when, how often it was tried, and why it failed."""
    return {
        "x-original-topic": message.topic,
        "x-original-partition": str(message.partition),
        "x-original-offset": str(message.offset),
        "x-original-timestamp": repr(message.timestamp_seconds),
        "x-attempt": str(attempts),
        "x-error-type": type(error).__name__,
        "x-error-message": harmless(str(error)),
    }


def harmless(text: str) -> str:
    """`text` for a header and a terminal: characters that do not print are escaped, and it is cut when it is long."""
    begin = text[: MAX_ERROR_CHARACTERS + 1]
    escaped = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in begin)
    return escaped if len(escaped) <= MAX_ERROR_CHARACTERS else escaped[: MAX_ERROR_CHARACTERS - 1] + "…"


def place_of(letter: Message) -> Place:
    """Where it lies."""
    return Place(letter.partition, letter.offset)


class Letters:
    """What a dead-letter topic holds; its messages may be taken in any order, and more than once."""

    def __init__(self) -> None:
        self._letters: dict[Place, Message] = {}
        self._settled: dict[Place, Settlement] = {}

    def take(self, messages: Iterable[Message]) -> None:
        """Adds letters and markers."""
        for message in messages:
            marker = _MARKER.fullmatch(message.headers.get(_SETTLED, ""))
            if marker and "x-original-topic" not in message.headers:  # or it is a letter whose own header this is
                self._settled[Place(int(marker[1]), int(marker[2]))] = Settlement(marker[3])
            else:
                self._letters[place_of(message)] = message

    @property
    def open(self) -> list[Message]:
        """Those nothing was done about, by partition and offset."""
        return self._but(Settlement.REPLAYED, Settlement.DROPPED)

    @property
    def given_up(self) -> list[Message]:
        """Those whose message nobody will try again: the open and the dropped ones."""
        return self._but(Settlement.REPLAYED)

    def _but(self, *settlements: Settlement) -> list[Message]:
        places = sorted(place for place in self._letters if self._settled.get(place) not in settlements)
        return [self._letters[place] for place in places]


def open_letters(broker: Broker, topic: str) -> list[Message]:
    """Those of `topic` now, by partition and offset. Raises NotFoundError when there is no such topic."""
    letters = Letters()
    letters.take(everything(broker, topic + DLQ_SUFFIX))
    return letters.open


def replay(broker: Broker, topic: str, letter: Message) -> None:
    """Puts the original message on its topic again, and then settles the letter."""
    kept = {name: value for name, value in letter.headers.items() if not name.startswith(_OURS)}
    target = letter.headers.get("x-original-topic", topic)
    broker.publish(target, letter.key, letter.value, kept | {_REPLAYED: str(place_of(letter))})
    _settle(broker, topic, letter, Settlement.REPLAYED)


def drop(broker: Broker, topic: str, letter: Message) -> None:
    """Settles the letter without doing anything about it."""
    _settle(broker, topic, letter, Settlement.DROPPED)


def _settle(broker: Broker, topic: str, letter: Message, how: Settlement) -> None:
    broker.publish(topic + DLQ_SUFFIX, letter.key, b"", {_SETTLED: f"{place_of(letter)} {how}"})
