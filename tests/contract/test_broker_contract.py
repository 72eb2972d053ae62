"""What every adapter of the Broker port promises; see conftest for how an adapter joins."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from contract_messages import take, take_all, values

from retrograde.runtime.adapters import open_broker
from retrograde.runtime.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract_child import Child

    from retrograde.runtime.broker import Broker, Consumer

    Join = Callable[..., Consumer]
    Eventually = Callable[[Callable[[], object]], None]

ALL_BYTES = bytes(range(256))


def test_a_message_arrives_as_it_was_sent(broker: Broker, topic: str, join: Join) -> None:
    """Key, value and headers arrive byte for byte, with the time of publishing."""
    before = time.time()
    broker.publish(topic, "schlüssel", ALL_BYTES, {"traceparent": "00-a-b-01", "ü": "ö"})
    (message,) = take(join(), 1)
    assert (message.topic, message.key, message.value) == (topic, "schlüssel", ALL_BYTES)
    assert dict(message.headers) == {"traceparent": "00-a-b-01", "ü": "ö"}
    assert before - 1 <= message.timestamp_seconds <= time.time() + 1


@pytest.mark.parametrize("num_bytes", [0, 1, 900_000])
def test_values_of_any_size_up_to_a_mebibyte(broker: Broker, topic: str, join: Join, num_bytes: int) -> None:
    """An empty value and one of almost a mebibyte arrive whole."""
    broker.publish(topic, "k", b"x" * num_bytes)
    assert [message.value for message in take(join(), 1)] == [b"x" * num_bytes]


def test_messages_of_a_key_arrive_in_order(broker: Broker, topic: str, join: Join) -> None:
    """Within a key, messages come in the order of publishing, with rising offsets of one partition."""
    for number in range(20):
        broker.publish(topic, "k", str(number).encode())
    messages = take(join(), 20)
    assert values(messages) == [str(number) for number in range(20)]
    assert len({message.partition for message in messages}) == 1
    assert [message.offset for message in messages] == sorted({message.offset for message in messages})


def test_keys_spread_over_partitions(broker: Broker, topic: str, join: Join) -> None:
    """A hundred keys use all four partitions."""
    for number in range(100):
        broker.publish(topic, f"problem-{number}", b"")
    assert {message.partition for message in take(join(), 100)} == {0, 1, 2, 3}


def test_every_process_sends_a_key_to_the_same_partition(
    broker: Broker, broker_url: str, topic: str, join: Join, spawn: Callable[..., Child]
) -> None:
    """The partition of a key does not depend on the process that publishes."""
    broker.publish(topic, "same", b"here")
    assert spawn("publish", broker_url, topic, "same", "1").lines() == ["same-0"]
    here, there = take(join(), 2)
    assert here.partition == there.partition


def test_creating_a_topic_again_changes_nothing(broker: Broker, topic: str, join: Join) -> None:
    """create_topic is idempotent: messages and partitions stay."""
    broker.publish(topic, "k", b"kept")
    broker.create_topic(topic, 9)
    consumer = join()
    assert values(take(consumer, 1)) == ["kept"]
    assert list(consumer.assignment()) == [0, 1, 2, 3]


def test_a_topic_has_a_dead_letter_topic(broker: Broker, topic: str) -> None:
    """`<topic>.dlq` is made along with the topic."""
    broker.publish(topic + ".dlq", "k", b"bad")
    assert broker.lag(topic + ".dlq", "readers") == 1


@pytest.mark.parametrize("call", ["publish", "consumer", "lag"])
def test_an_unknown_topic_is_named(broker: Broker, call: str) -> None:
    """Using a topic nobody made is a NotFoundError that names it."""
    arguments = {"publish": ("no.such", "k", b""), "consumer": ("no.such", "g"), "lag": ("no.such", "g")}[call]
    with pytest.raises(NotFoundError, match=r"no\.such"):
        getattr(broker, call)(*arguments)


@pytest.mark.parametrize("name", ["", "with space", "a/b", "x" * 250])
def test_a_bad_topic_name_is_refused(broker: Broker, name: str) -> None:
    """A name no broker could hold is an InvalidInputError."""
    with pytest.raises(InvalidInputError):
        broker.create_topic(name, 1)


def test_a_topic_needs_a_partition(broker: Broker) -> None:
    """Zero partitions are refused."""
    with pytest.raises(InvalidInputError, match="num_partitions"):
        broker.create_topic("t", 0)


def test_each_group_gets_every_message(broker: Broker, topic: str, join: Join) -> None:
    """Groups do not take messages from each other."""
    broker.publish(topic, "k", b"1")
    assert values(take(join("one"), 1)) == values(take(join("two"), 1)) == ["1"]


def test_poll_waits_no_longer_than_told(join: Join) -> None:
    """An empty topic answers [] after about the timeout."""
    consumer = join()
    started = time.monotonic()
    assert consumer.poll(0.3) == []
    assert 0.25 <= time.monotonic() - started < 30


def test_poll_returns_as_soon_as_a_message_comes(
    broker_url: str, topic: str, join: Join, spawn: Callable[..., Child]
) -> None:
    """A poll under way ends when another process publishes."""
    consumer = join()
    spawn("publish", broker_url, topic, "k", "1")
    started = time.monotonic()
    assert values(consumer.poll(120)) == ["k-0"]
    assert time.monotonic() - started < 110


def test_poll_takes_no_more_than_asked(broker: Broker, topic: str, join: Join, eventually: Eventually) -> None:
    """max_messages bounds one poll; 0 takes nothing and loses nothing."""
    for number in range(5):
        broker.publish(topic, f"k{number}", str(number).encode())
    consumer = join()
    assert consumer.poll(0.1, 0) == []
    sizes: list[int] = []
    eventually(lambda: sizes.append(len(consumer.poll(1, 2))) or sum(sizes) >= 5)
    assert max(sizes) <= 2
    assert sum(sizes) == 5


def test_what_was_not_committed_is_delivered_again(broker: Broker, topic: str, join: Join) -> None:
    """A member that leaves without a commit leaves its messages to the next."""
    broker.publish(topic, "k", b"1")
    first = join()
    assert values(take(first, 1)) == ["1"]
    first.close()
    assert values(take(join(), 1)) == ["1"]


def test_what_was_committed_is_not_delivered_again(broker: Broker, topic: str, join: Join) -> None:
    """A commit covers the message and all before it in its partition, and nothing after it."""
    for number in range(3):
        broker.publish(topic, "k", str(number).encode())
    first = join()
    first.commit(take(first, 3)[1])
    first.close()
    assert values(take(join(), 1)) == ["2"]


def test_a_position_never_goes_back(broker: Broker, topic: str, join: Join) -> None:
    """A commit below an earlier one takes nothing back, also when another member made that one."""
    for number in range(4):
        broker.publish(topic, "k", str(number).encode())
    first = join()
    messages = take(first, 4)
    first.commit(messages[2])
    first.commit(messages[0])
    first.close()
    second = join()
    (last,) = take(second, 1)
    assert last.value == b"3"
    second.commit(messages[1])
    assert broker.lag(topic, "group") == 1


def test_seek_delivers_again(broker: Broker, topic: str, join: Join) -> None:
    """After seek, the message and what follows it come once more, also when there was nothing left."""
    for number in range(3):
        broker.publish(topic, "k", str(number).encode())
    consumer = join()
    messages = take(consumer, 3)
    assert consumer.poll(0.05) == []
    consumer.seek(messages[1])
    assert values(take(consumer, 2)) == ["1", "2"]


def test_lag_counts_what_a_group_has_not_committed(broker: Broker, topic: str, join: Join) -> None:
    """Lag is over all partitions, falls by commits only, and counts from the start for a new group."""
    for number in range(10):
        broker.publish(topic, f"k{number}", b"")
    consumer = join()
    messages = take(consumer, 10)
    assert broker.lag(topic, "group") == 10
    last = {message.partition: message for message in messages}
    for message in last.values():
        consumer.commit(message)
    assert (broker.lag(topic, "group"), broker.lag(topic, "new")) == (0, 10)


def test_writers_in_several_processes_lose_and_double_nothing(
    broker_url: str, topic: str, join: Join, spawn: Callable[..., Child]
) -> None:
    """Three processes publish at once: each message arrives once, each writer's in order."""
    writers = [spawn("publish", broker_url, topic, name, "40") for name in "abc"]
    sent = {line for writer in writers for line in writer.lines()}
    got = values(take_all(join(), 120))
    assert len(got) == 120
    assert set(got) == sent
    for name in "abc":
        assert [text for text in got if text.startswith(name)] == [f"{name}-{number}" for number in range(40)]


def test_a_killed_writer_loses_nothing_it_was_told_is_durable(
    broker: Broker, broker_url: str, topic: str, join: Join, spawn: Callable[..., Child]
) -> None:
    """Kill -9 of a writer: all acknowledged messages are there, whole, and others go on publishing."""
    writer = spawn("publish", broker_url, topic, "w", "100000")
    acknowledged = [writer.line() for _ in range(30)]
    writer.kill()
    acknowledged += writer.lines()
    broker.publish(topic, "after", b"after")
    got = values(take_all(join(), len(acknowledged) + 1))
    sent = [f"w-{number}" for number in range(len(acknowledged) + 1)]
    assert acknowledged == sent[:-1]
    assert sorted(got) in (sorted([*acknowledged, "after"]), sorted([*sent, "after"]))


def test_messages_outlive_the_processes(broker: Broker, broker_url: str, topic: str, join: Join) -> None:
    """A broker opened again has the messages and the positions."""
    broker.publish(topic, "k", b"1")
    broker.publish(topic, "k", b"2")
    consumer = join()
    consumer.commit(take(consumer, 1)[0])
    consumer.close()
    with (
        contextlib.closing(open_broker(broker_url)) as again,
        contextlib.closing(again.consumer(topic, "group")) as successor,
    ):
        assert values(take(successor, 1)) == ["2"]
