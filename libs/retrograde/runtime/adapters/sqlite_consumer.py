"""One member of a consumer group in the SQLite broker.

A thread says every sixth of the session that the member is alive, so that a handler that takes minutes keeps its
partitions and a killed process loses them after `session_seconds`. `poll` looks for messages at growing intervals
(2 to 50 ms); a look at a file that nobody wrote to since the last costs one pragma.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING

from retrograde.runtime import logs
from retrograde.runtime.adapters import sqlite_group as groups
from retrograde.runtime.adapters.sqlite_file import answering, connect, writing
from retrograde.runtime.broker import Message
from retrograde.runtime.errors import FencedError, RetrogradeError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05
_HEARTBEATS_PER_SESSION = 6

_log = logs.get_logger(__name__)


class SqliteConsumer:
    """Joins the group when made; `close` leaves it."""

    def __init__(self, path: Path, group: groups.Group, session_seconds: float) -> None:
        self._path = path
        self._group = group
        self._member = uuid.uuid4().hex
        self._epochs: dict[int, int] = {}
        self._next: dict[int, int] = {}
        self._turn = 0
        self._empty_at: int | None = None
        self._db = connect(path)
        self._heartbeat = _Heartbeat(path, group, self._member, session_seconds)
        with answering(path), writing(self._db):
            groups.touch(self._db, group, self._member, session_seconds)
        self._reload()
        self._heartbeat.start()

    def poll(self, timeout_seconds: float, max_messages: int = 1) -> list[Message]:
        """The next messages, at most `max_messages`, taken in turn from the partitions held."""
        deadline = time.monotonic() + timeout_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            with answering(self._path):
                messages = self._look(max_messages)
            left = deadline - time.monotonic()
            if messages or left <= 0:
                return messages
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

    def commit(self, message: Message) -> None:
        """Commits the message's partition up to and including it; FencedError when it is no longer this member's."""
        part = message.partition
        with answering(self._path), writing(self._db):
            held = groups.holding(self._db, self._group, self._member)
            if part not in held or held[part] != self._epochs.get(part) or message.offset >= self._next[part]:
                raise FencedError(
                    f"{message.topic}/{part} at {message.offset}: the partition was given to another member of "
                    f"{self._group.name!r} since this was delivered; drop the work, it is delivered again"
                )
            groups.advance(self._db, self._group, part, message.offset + 1)

    def seek(self, message: Message) -> None:
        """Delivers `message` and what follows it again."""
        if message.partition in self._next:
            self._next[message.partition] = message.offset
            self._empty_at = None

    def assignment(self) -> Sequence[int]:
        """Partitions held now, sorted."""
        with answering(self._path):
            self._reload()
        return sorted(self._epochs)

    def close(self) -> None:
        """Leaves the group; calling again does nothing."""
        if not self._heartbeat.stop():
            return
        try:
            with answering(self._path), writing(self._db):
                groups.leave(self._db, self._group, self._member)
        finally:
            self._db.close()

    def _look(self, max_messages: int) -> list[Message]:
        """What is there now; skipped when nobody wrote since there was nothing."""
        version = self._db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._empty_at:
            return []
        self._reload()
        messages = self._fetch(max_messages)
        if max_messages > 0 and not messages:
            self._empty_at = version
        return messages

    def _reload(self) -> None:
        """Takes note of partitions that came (they start at their committed position) and went."""
        held = groups.holding(self._db, self._group, self._member)
        if held == self._epochs:
            return
        fresh = {part for part, epoch in held.items() if self._epochs.get(part) != epoch}
        starts = {part: groups.position(self._db, self._group, part) for part in fresh}
        self._next = {part: starts[part] if part in fresh else self._next[part] for part in held}
        self._epochs = held

    def _fetch(self, max_messages: int) -> list[Message]:
        """What is there, beginning with another partition each time so that none starves."""
        parts = sorted(self._epochs)
        if not parts or max_messages <= 0:
            return []
        self._turn = (self._turn + 1) % len(parts)
        messages: list[Message] = []
        for part in parts[self._turn :] + parts[: self._turn]:
            if (room := max_messages - len(messages)) <= 0:
                break
            messages += self._read(part, room)
        return messages

    def _read(self, part: int, room: int) -> list[Message]:
        query = (
            "SELECT pos, key, value, headers, timestamp_seconds FROM messages "
            "WHERE topic = ? AND part = ? AND pos >= ? ORDER BY pos LIMIT ?"
        )
        rows = self._db.execute(query, (self._group.topic, part, self._next[part], room)).fetchall()
        if rows:
            self._next[part] = rows[-1][0] + 1
        return [
            Message(self._group.topic, part, pos, key, value, json.loads(headers), timestamp)
            for pos, key, value, headers, timestamp in rows
        ]


class _Heartbeat:
    """The thread that keeps one member in its group; a daemon, so that a process may end without it."""

    def __init__(self, path: Path, group: groups.Group, member: str, session_seconds: float) -> None:
        self._path = path
        self._group = group
        self._member = member
        self._session_seconds = session_seconds
        self._db = connect(path, durable=False)  # a lost heartbeat costs nothing: no need to wait for the disk
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{group.topic}", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> bool:
        """Ends it and waits; False when it had ended before."""
        if self._stopped.is_set():
            return False
        self._stopped.set()
        self._thread.join()
        self._db.close()
        return True

    def _run(self) -> None:
        while not self._stopped.wait(self._session_seconds / _HEARTBEATS_PER_SESSION):
            try:
                with answering(self._path), writing(self._db):
                    groups.touch(self._db, self._group, self._member, self._session_seconds)
            except RetrogradeError as error:
                _log.warning("heartbeat failed", topic=self._group.topic, reason=str(error))
