"""Dead letters for `retrograde dlq`: chosen, as rows, and one whole. What they hold is shown harmlessly."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from rich.table import Table

from retrograde.runtime.broker import Message
from retrograde.runtime.dead_letters import Place, harmless, place_of
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.wire.topics import MESSAGE_TYPES

_PLACE = re.compile(r"(\d+):(\d+)")
_HEX_BYTES_IN_A_LINE = 32


def choose(letters: Iterable[Message], places: Sequence[str], key: str, *, everything: bool) -> list[Message]:
    """Those at `places`, or of `key`, or all. Raises NotFoundError for a place without an open letter."""
    found = {place_of(letter): letter for letter in letters}
    if everything:
        return list(found.values())
    if key:
        return [letter for letter in found.values() if letter.key == key]
    return [_at(found, _place(text)) for text in dict.fromkeys(places)]


def _place(text: str) -> Place:
    match = _PLACE.fullmatch(text)
    if not match:
        raise InvalidInputError(f"PARTITION:OFFSET: {text!r} is none; write for example 3:17, as `list` shows it")
    return Place(int(match[1]), int(match[2]))


def _at(letters: dict[Place, Message], place: Place) -> Message:
    if place not in letters:
        raise NotFoundError(f"no open letter at {place}; `retrograde dlq list` shows those there are")
    return letters[place]


def letter_row(letter: Message) -> dict[str, object]:
    """What `list` says about a letter."""
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "key": letter.key,
        "when": _when(letter.timestamp_seconds),
        "attempts": letter.headers.get("x-attempt", ""),
        "error_type": letter.headers.get("x-error-type", ""),
        "error_message": letter.headers.get("x-error-message", ""),
        "replayed_from": letter.headers.get("x-replayed", ""),
    }


def letters_view(topic: str, letters: Sequence[Message]) -> Table:
    """One line each."""
    table = Table(title=f"{len(letters)} open dead letters of {topic}", title_justify="left")
    for column in ("letter", "key", "since", "attempts", "error"):
        table.add_column(column, overflow="fold")
    for letter in letters:
        row = letter_row(letter)
        error = harmless(f"{row['error_type']}: {row['error_message']}")
        cells = (str(place_of(letter)), harmless(letter.key), str(row["when"]), str(row["attempts"]), error)
        table.add_row(*(cell.replace("[", "\\[") for cell in cells))
    return table


def letter_view(topic: str, letter: Message) -> str:
    """Headers, one a line, and the value."""
    headers = [f"{name}: {harmless(value)}" for name, value in sorted(letter.headers.items())]
    where = [f"letter: {place_of(letter)}", f"key: {harmless(letter.key)}", f"since: {_when(letter.timestamp_seconds)}"]
    return "\n".join([*where, *headers, "", _value(topic, letter.value)])


def _value(topic: str, value: bytes) -> str:
    if topic in MESSAGE_TYPES:
        try:
            return text_format.MessageToString(MESSAGE_TYPES[topic].FromString(value)).rstrip()
        except DecodeError:
            pass
    lines = [value[start : start + _HEX_BYTES_IN_A_LINE] for start in range(0, len(value), _HEX_BYTES_IN_A_LINE)]
    return "\n".join([f"{len(value)} bytes", *(line.hex(" ") for line in lines)])


def _when(timestamp_seconds: float) -> str:
    return datetime.fromtimestamp(timestamp_seconds, UTC).isoformat(timespec="seconds")
