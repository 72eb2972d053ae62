"""The Broker port on one SQLite file, shared by the processes of a machine: the `local` profile's broker.

sqlite_file holds the tables and transactions, sqlite_group membership and positions, sqlite_consumer a member;
assignment says who holds what. Messages are kept for the life of the file: a run's are small ids and object keys.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from typing import TYPE_CHECKING

from retrograde.runtime.adapters import sqlite_group as groups
from retrograde.runtime.adapters.limits import check_name, check_size, check_topic
from retrograde.runtime.adapters.sqlite_consumer import SqliteConsumer
from retrograde.runtime.adapters.sqlite_file import answering, connect, writing
from retrograde.runtime.adapters.sqlite_group import Group
from retrograde.runtime.broker import DLQ_SUFFIX
from retrograde.runtime.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Ours. Long enough for a starved machine (a spurious change of members repeats work), short enough to wait for.
SESSION_SECONDS = 6.0


class SqliteBroker:
    """A broker on the file at `path`, made when missing. Its calls may come from any thread."""

    def __init__(self, path: Path, session_seconds: float = SESSION_SECONDS) -> None:
        self._path = path
        self._session_seconds = session_seconds
        self._db = connect(path)
        self._lock = threading.Lock()

    def create_topic(self, topic: str, num_partitions: int) -> None:
        """Makes the topic and its dead-letter topic; one that exists keeps its number of partitions."""
        check_topic(topic, num_partitions)
        rows = [(each, num_partitions) for each in (topic, topic + DLQ_SUFFIX)]
        with self._lock, answering(self._path), writing(self._db):
            self._db.executemany("INSERT OR IGNORE INTO topics VALUES (?, ?)", rows)

    def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Appends to the partition of `key`; on disk when it returns."""
        given = dict(headers or {})
        check_size(topic, key, value, given)
        with self._lock, answering(self._path):
            part = _partition(key, self._num_partitions(topic))
            with writing(self._db):
                pos = self._end(topic, part)
                row = (topic, part, pos, key, value, json.dumps(given), time.time())
                self._db.execute("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def consumer(self, topic: str, group: str) -> SqliteConsumer:
        """Joins `group`."""
        check_name("group", group)
        with self._lock, answering(self._path):
            num_partitions = self._num_partitions(topic)
        return SqliteConsumer(self._path, Group(topic, group, num_partitions), self._session_seconds)

    def lag(self, topic: str, group: str) -> int:
        """Messages of `topic` not yet committed by `group`."""
        with self._lock, answering(self._path):
            members = Group(topic, group, self._num_partitions(topic))
            parts = range(members.num_partitions)
            return sum(self._end(topic, part) - groups.position(self._db, members, part) for part in parts)

    def close(self) -> None:
        """Closes the file; consumers close themselves."""
        with self._lock:
            self._db.close()

    def _end(self, topic: str, part: int) -> int:
        """The offset the next message of the partition gets."""
        query = "SELECT COALESCE(MAX(pos) + 1, 0) FROM messages WHERE topic = ? AND part = ?"
        return int(self._db.execute(query, (topic, part)).fetchone()[0])

    def _num_partitions(self, topic: str) -> int:
        row = self._db.execute("SELECT num_partitions FROM topics WHERE topic = ?", (topic,)).fetchone()
        if row is None:
            raise NotFoundError(f"no topic {topic!r} in {self._path}; call create_topic first")
        return int(row[0])


def _partition(key: str, num_partitions: int) -> int:
    """The same in every process and every version."""
    return zlib.crc32(key.encode()) % num_partitions
