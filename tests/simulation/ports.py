"""The broker and the store in memory, as one process sees them; each call may meet what the weather has for it.

Both keep to their ports (`retrograde.runtime.broker`, `.objects`) and to nothing beyond: delivery is at least once, a
group's partitions move whenever a member comes, goes or is silent; what a caller was told is durable.
"""

from __future__ import annotations

import contextvars
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from retrograde.runtime.adapters.assignment import assign
from retrograde.runtime.broker import DLQ_SUFFIX, Message
from retrograde.runtime.errors import FencedError, NotFoundError, UnavailableError
from tests.simulation.weather import Fate
from tests.simulation.world import SESSION_SECONDS, Incarnation, World

OBJECTS_ARE_PUT_ONCE = frozenset({Fate.TWICE})
IN_ORDER = frozenset({Fate.TWICE, Fate.LATE})  # what one connection sends arrives in order, once


@dataclass
class Group:
    """Who holds what, and how far each partition has come."""

    num_partitions: int
    members: list[str] = field(default_factory=list)
    held: dict[int, str] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)
    generation: int = 0

    def spread(self) -> None:
        """Gives the partitions to the members; what moved gets a new epoch."""
        self.generation += 1
        wanted = assign(self.num_partitions, self.members, self.held)
        for part, member in wanted.items():
            if self.held.get(part) != member:
                self.epochs[part] = self.generation
        self.held = wanted


class Cluster:
    """What the servers keep."""

    def __init__(self, world: World, num_partitions: int) -> None:
        self.world = world
        self.objects: dict[str, bytes] = {}
        self.topics: dict[str, list[list[Message]]] = {}
        self.groups: dict[tuple[str, str], Group] = {}
        self.owners: dict[str, Incarnation] = {}  # of members
        self._num_partitions = num_partitions
        world.on_silence = self._expire_all
        world.on_expiry = self._expire_one

    def topic(self, name: str) -> list[list[Message]]:
        if name not in self.topics:
            raise NotFoundError(f"no topic {name!r}")
        return self.topics[name]

    def create(self, name: str) -> None:
        for each in (name, name + DLQ_SUFFIX):
            self.topics.setdefault(each, [[] for _ in range(self._num_partitions)])

    def group(self, topic: str, name: str) -> Group:
        return self.groups.setdefault((topic, name), Group(self._num_partitions))

    def lag(self, topic: str, name: str) -> int:
        group = self.group(topic, name)
        return sum(len(log) - group.positions.get(part, 0) for part, log in enumerate(self.topics.get(topic, [])))

    def take_out(self, member: str) -> None:
        for (topic, _), group in self.groups.items():
            if member in group.members:
                group.members.remove(member)
                group.spread()
                self.world.note(member, "left", topic)

    def _expire_all(self, silent: Incarnation) -> None:
        if silent.is_alive and silent.parked is None:
            return
        for member, owner in list(self.owners.items()):
            if owner is silent:
                self.take_out(member)

    def _expire_one(self) -> None:
        members = [member for group in self.groups.values() for member in group.members]
        if members:
            self.take_out(self.world.rng.choice(members))


class SimulatedBroker:
    """The Broker port of one process."""

    def __init__(self, cluster: Cluster, owner: Incarnation) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._owner = owner
        self._num_consumers = 0

    def create_topic(self, topic: str, num_partitions: int) -> None:
        self._world.change(self._owner, "broker", lambda: self._cluster.create(topic), IN_ORDER)

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        log = self._cluster.topic(topic)
        part = zlib.crc32(key.encode()) % len(log)

        def append() -> None:
            now = self._world.loop.time()
            log[part].append(Message(topic, part, len(log[part]), key, value, dict(headers or {}), now))
            self._world.note(self._owner.id, "publish", topic, log[part][-1])

        self._world.change(self._owner, "broker", append, frozenset())

    def consumer(self, topic: str, group: str) -> SimulatedConsumer:
        self._num_consumers += 1
        self._cluster.topic(topic)
        consumer = SimulatedConsumer(self._cluster, self._owner, topic, group, self._num_consumers)
        try:
            self._world.change(self._owner, "broker", consumer.join, IN_ORDER)
        except UnavailableError:  # a member that joined and does not know it is soon thought gone
            consumer.expire_soon()
            raise
        return consumer

    def lag(self, topic: str, group: str) -> int:
        self._world.ask(self._owner, "broker")
        return self._cluster.lag(topic, group)

    def close(self) -> None:
        pass


class SimulatedConsumer:
    """The Consumer port; joins again when it was thought gone."""

    def __init__(self, cluster: Cluster, owner: Incarnation, topic: str, group: str, number: int) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._owner = owner
        self._topic = topic
        self._group = cluster.group(topic, group)
        self._name = group
        self._member = f"{owner.id}/{number}"
        self._epochs: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._told: list[int] = []

    def join(self) -> None:
        if self._member not in self._group.members:
            self._cluster.owners[self._member] = self._owner
            self._group.members.append(self._member)
            self._group.spread()
            self._world.note(self._member, "joined", self._topic)
            if not self._owner.is_alive:  # a join that was on its way when its process was killed
                self.expire_soon()

    def expire_soon(self) -> None:
        """Nobody hears of it any more."""
        self._world.loop.call_later(SESSION_SECONDS, self.expire, context=contextvars.Context())

    def expire(self) -> None:
        self._cluster.take_out(self._member)

    def poll(self, timeout_seconds: float, max_messages: int = 1) -> list[Message]:
        self._world.ask(self._owner, "broker")
        if self._owner.is_alive:
            self.join()
        self._reload()
        found = self._fetch(max_messages)
        if not found:
            self._world.blocked_seconds = timeout_seconds
        return found

    def _reload(self) -> None:
        held = {part: self._group.epochs[part] for part, who in self._group.held.items() if who == self._member}
        positions = self._group.positions
        fresh = {part: positions.get(part, 0) for part, epoch in held.items() if self._epochs.get(part) != epoch}
        self._next = {part: fresh.get(part, self._next.get(part, 0)) for part in held}
        self._epochs = held

    def _fetch(self, max_messages: int) -> list[Message]:
        """What is there, from the partitions in any order; what is delayed comes another time."""
        rng, delayed = self._world.rng, self._world.weather.delayed_polls
        found: list[Message] = []
        for part in rng.sample(sorted(self._epochs), len(self._epochs)):
            room = max_messages - len(found)
            if room > 0 and not (delayed and rng.random() < delayed):
                start = self._next[part]
                found += self._cluster.topics[self._topic][part][start : start + room]
                self._next[part] = min(start + room, len(self._cluster.topics[self._topic][part]))
        for message in found:
            self._world.note(self._member, "delivered", self._topic, (message.partition, message.offset))
        return found

    def commit(self, message: Message) -> None:
        part, after = message.partition, message.offset + 1

        def advance() -> None:
            mine = self._group.held.get(part) == self._member and self._group.epochs[part] == self._epochs.get(part)
            if not mine or message.offset >= self._next[part]:
                raise FencedError(f"{self._topic}/{part} at {message.offset}: the partition moved")
            self._group.positions[part] = max(after, self._group.positions.get(part, 0))
            self._world.note(self._member, "commit", self._topic, (self._name, part, after))

        self._world.change(self._owner, "broker", advance, IN_ORDER)

    def seek(self, message: Message) -> None:
        if message.partition in self._next:
            self._next[message.partition] = message.offset

    def assignment(self) -> Sequence[int]:
        self._world.ask(self._owner, "broker")
        self._reload()
        held = sorted(self._epochs)
        if held != self._told:
            self._told = held
            self._world.note(self._owner.id, "holds", self._topic, tuple(held))
        return held

    def close(self) -> None:
        self._world.change(self._owner, "broker", self.expire, IN_ORDER)


class SimulatedStore:
    """The ObjectStore port of one process, without files."""

    def __init__(self, cluster: Cluster, owner: Incarnation) -> None:
        self._world = cluster.world
        self._objects = cluster.objects
        self._owner = owner

    def put(self, key: str, data: bytes) -> None:
        def place() -> None:
            self._objects[key] = data
            self._world.note(self._owner.id, "put", key, data)

        self._world.change(self._owner, "store", place, OBJECTS_ARE_PUT_ONCE)

    def get(self, key: str) -> bytes:
        self._world.ask(self._owner, "store")
        if key not in self._objects:
            raise NotFoundError(f"store: no object {key!r}")
        return self._objects[key]

    def exists(self, key: str) -> bool:
        self._world.ask(self._owner, "store")
        return key in self._objects

    def list(self, prefix: str) -> Iterator[str]:
        self._world.ask(self._owner, "store")
        self._world.note(self._owner.id, "list", prefix)
        return iter(sorted(key for key in self._objects if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        def drop() -> None:
            self._objects.pop(key, None)
            self._world.note(self._owner.id, "delete", key)

        self._world.change(self._owner, "store", drop, OBJECTS_ARE_PUT_ONCE)
