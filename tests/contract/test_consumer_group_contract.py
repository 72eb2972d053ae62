"""What every adapter of the Broker port promises about groups: shares, moves, kills and fences."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

import pytest
from contract_messages import SESSION_SECONDS, take, values

from retrograde.runtime.adapters import open_broker
from retrograde.runtime.errors import FencedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract_child import Child

    from retrograde.runtime.broker import Broker, Consumer, Message

    Join = Callable[..., Consumer]
    Eventually = Callable[[Callable[[], object]], None]


def test_two_members_share_the_partitions(broker: Broker, topic: str, join: Join, eventually: Eventually) -> None:
    """Two members hold two partitions each, none in common, and together get every message once."""
    one, two = join(), join()
    eventually(lambda: (len(one.assignment()), len(two.assignment())) == (2, 2))
    assert sorted([*one.assignment(), *two.assignment()]) == [0, 1, 2, 3]
    for number in range(40):
        broker.publish(topic, f"k{number}", str(number).encode())
    got: list[Message] = []
    eventually(lambda: got.extend(one.poll(0.1, 40) + two.poll(0.1, 40)) or len(got) >= 40)
    assert sorted(values(got), key=int) == [str(number) for number in range(40)]


def test_a_third_of_three_members_gets_a_share(join: Join, eventually: Eventually) -> None:
    """Four partitions over three members: loads of two, one and one."""
    members = [join(), join(), join()]
    eventually(lambda: sorted(len(each.assignment()) for each in members) == [1, 1, 2])


def test_a_leaving_member_s_partitions_go_to_the_others_at_once(
    broker_url: str, topic: str, eventually: Eventually
) -> None:
    """close() hands over without waiting for a session of five minutes, uncommitted messages included."""
    patient_url = f"{broker_url.partition('?')[0]}?session_seconds=300"
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(contextlib.closing(open_broker(patient_url)))
        one, two = (stack.enter_context(contextlib.closing(broker.consumer(topic, "group"))) for _ in range(2))
        for number in range(40):
            broker.publish(topic, f"k{number}", str(number).encode())
        eventually(lambda: len(one.assignment()) == len(two.assignment()) == 2)
        taken = values(take(two, 1))
        two.close()
        eventually(lambda: len(one.assignment()) == 4)
        assert set(taken) <= set(values(take(one, 40)))


def test_a_commit_for_a_partition_that_moved_is_fenced(
    broker: Broker, topic: str, join: Join, eventually: Eventually
) -> None:
    """A member cannot commit what was delivered before its partition went to another."""
    for number in range(40):
        broker.publish(topic, f"k{number}", b"")
    one = join()
    messages = take(one, 40)
    two = join()
    eventually(lambda: len(one.assignment()) == len(two.assignment()) == 2)
    kept = set(one.assignment())
    moved = next(message for message in messages if message.partition not in kept)
    with pytest.raises(FencedError, match="another member"):
        one.commit(moved)
    one.commit(next(message for message in messages if message.partition in kept))
    assert values([moved]) == values(take(two, 1))


def test_a_partition_that_came_back_is_delivered_before_it_is_committed(
    broker: Broker, topic: str, join: Join, eventually: Eventually
) -> None:
    """After a partition went and came back, old deliveries do not commit; the fresh delivery does."""
    for number in range(40):
        broker.publish(topic, f"k{number}", b"")
    one = join()
    before = take(one, 40)
    two = join()
    eventually(lambda: len(one.assignment()) == 2)
    (moved,) = [part for part in (0, 1, 2, 3) if part not in one.assignment()][:1]
    two.close()
    eventually(lambda: len(one.assignment()) == 4)
    old = next(message for message in before if message.partition == moved)
    with pytest.raises(FencedError):
        one.commit(old)
    taken: list[Message] = []
    eventually(lambda: taken.extend(one.poll(0.1, 40)) or any(message.partition == moved for message in taken))
    again = next(message for message in taken if message.partition == moved)
    one.commit(again)
    assert (again.offset, again.value) == (old.offset, old.value)


def test_a_killed_worker_s_message_is_delivered_to_another(
    broker: Broker, broker_url: str, topic: str, join: Join, spawn: Callable[..., Child]
) -> None:
    """Kill -9 in the middle of a task: what the worker had in its hands comes to the next member."""
    broker.publish(topic, "a", b"first")
    broker.publish(topic, "b", b"second")
    worker = spawn("hang", broker_url, topic, "group")
    assert {worker.line(), worker.line()} == {"first", "second"}
    survivor = join()
    worker.kill()
    messages = take(survivor, 2)
    assert set(values(messages)) == {"first", "second"}
    for message in messages:
        survivor.commit(message)
    assert broker.lag(topic, "group") == 0


def test_a_frozen_member_is_replaced_and_then_fenced(
    broker: Broker, broker_url: str, topic: str, join: Join, spawn: Callable[..., Child], eventually: Eventually
) -> None:
    """A process stopped past its session loses its partitions; awake again, its old commit is refused."""
    broker.publish(topic, "k", b"1")
    sleeper = spawn("hold", broker_url, topic, "group")
    assert sleeper.line() == "1"
    sleeper.signal(signal.SIGSTOP)
    survivor = join()
    eventually(lambda: len(survivor.assignment()) == 4)
    (message,) = take(survivor, 1)
    survivor.commit(message)
    sleeper.signal(signal.SIGCONT)
    sleeper.say("commit")
    assert sleeper.line() == "FencedError"


def test_a_member_busy_past_its_session_keeps_its_partitions(
    broker: Broker, topic: str, join: Join, eventually: Eventually
) -> None:
    """A handler may take longer than a session without a poll: its partitions stay and its commit is taken."""
    for number in range(40):
        broker.publish(topic, f"k{number}", b"")
    one, two = join(), join()
    eventually(lambda: len(one.assignment()) == len(two.assignment()) == 2)
    (message,) = take(one, 1)
    held = list(one.assignment())
    time.sleep(1.5 * SESSION_SECONDS)
    assert (list(one.assignment()), len(two.assignment())) == (held, 2)
    one.commit(message)
    assert broker.lag(topic, "group") == 39
