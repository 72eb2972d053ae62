"""Dead letters on every broker: open, replayed byte for byte, dropped, and open again only when they fail again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from retrograde.runtime import dead_letters
from retrograde.runtime.broker import Message
from retrograde.runtime.dead_letters import dead_letter_headers, open_letters, place_of
from retrograde.runtime.errors import UnavailableError
from retrograde.runtime.reading import everything

if TYPE_CHECKING:
    from retrograde.runtime.broker import Broker

ALL_BYTES = bytes(range(256))


def give_up(broker: Broker, topic: str, key: str, value: bytes = ALL_BYTES) -> None:
    """As a worker does."""
    message = Message(topic, 2, 7, key, value, {"traceparent": "00-a-b-01"}, 12.5)
    headers = dead_letter_headers(message, 3, OSError("no"))
    broker.publish(topic + ".dlq", key, value, {**message.headers, **headers})


def keys(broker: Broker, topic: str) -> list[str]:
    return sorted(letter.key for letter in open_letters(broker, topic))


def test_letters_are_open_until_they_are_settled(broker: Broker, topic: str) -> None:
    """Of four, one is replayed and one dropped: the other two are open, also for a reader that comes anew."""
    for key in "abcd":
        give_up(broker, topic, key)
    by_key = {letter.key: letter for letter in open_letters(broker, topic)}
    dead_letters.replay(broker, topic, by_key["a"])
    dead_letters.drop(broker, topic, by_key["c"])
    assert keys(broker, topic) == ["b", "d"]


def test_a_replay_is_the_original_message(broker: Broker, topic: str) -> None:
    """Key, bytes and own headers are the original's; what the worker added is gone; where it came from is said."""
    give_up(broker, topic, "schlüssel")
    (letter,) = open_letters(broker, topic)
    dead_letters.replay(broker, topic, letter)
    (message,) = everything(broker, topic)
    assert (message.key, message.value) == ("schlüssel", ALL_BYTES)
    assert dict(message.headers) == {"traceparent": "00-a-b-01", "x-replayed": str(place_of(letter))}


def test_a_replay_that_fails_again_is_a_new_letter(broker: Broker, topic: str) -> None:
    """The first is settled, the second is open and says that it was replayed."""
    give_up(broker, topic, "k")
    (first,) = open_letters(broker, topic)
    dead_letters.replay(broker, topic, first)
    (message,) = everything(broker, topic)
    broker.publish(
        topic + ".dlq", "k", message.value, {**message.headers, **dead_letter_headers(message, 3, OSError())}
    )
    (second,) = open_letters(broker, topic)
    assert place_of(second) != place_of(first)
    assert second.headers["x-replayed"] == str(place_of(first))


def test_an_interrupted_replay_leaves_the_letter_open(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the message and its marker, a replay has not happened yet: the next one repeats the message."""
    give_up(broker, topic, "k")
    (letter,) = open_letters(broker, topic)
    with monkeypatch.context() as patch:
        patch.setattr(dead_letters, "_settle", _unavailable)
        with pytest.raises(UnavailableError):
            dead_letters.replay(broker, topic, letter)
    assert keys(broker, topic) == ["k"]
    dead_letters.replay(broker, topic, letter)
    assert keys(broker, topic) == []
    assert len(list(everything(broker, topic))) == 2


def _unavailable(*_: object) -> None:
    raise UnavailableError("killed here")


def test_a_message_that_looks_like_a_marker_settles_nothing(broker: Broker, topic: str) -> None:
    """A producer's own x-settled header, dead-lettered with its message, leaves the letters as they are."""
    give_up(broker, topic, "a")
    (letter,) = open_letters(broker, topic)
    own = {"x-settled": f"{place_of(letter)} dropped"}
    broker.publish(topic + ".dlq", "b", b"", {**own, **dead_letter_headers(letter, 1, OSError())})
    assert keys(broker, topic) == ["a", "b"]


def test_reading_a_topic_leaves_it_as_it_is(broker: Broker, topic: str) -> None:
    """All messages come, twice over, and no group's lag changes."""
    for number in range(30):
        broker.publish(topic, f"k{number}", str(number).encode())
    for _ in range(2):
        assert {message.value for message in everything(broker, topic)} == {
            str(number).encode() for number in range(30)
        }
    assert broker.lag(topic, "group") == 30
