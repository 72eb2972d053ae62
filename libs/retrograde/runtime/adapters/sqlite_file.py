"""The file behind the SQLite broker: tables, connections, transactions, and what its errors mean.

Write-ahead logging lets any number of processes read while one writes. A writer takes the lock at once (BEGIN
IMMEDIATE) and waits its turn for at most `BUSY_SECONDS`. A process killed inside a transaction leaves the file as it
was before it. Tables:

    topics       how many partitions
    messages     the log; (topic, partition, offset) is a message's identity, never changed after
    positions    the next offset a group has not committed, by partition
    members      who is in a group, and when each was last seen
    assignments  who holds a partition, and since which generation of the group: the fence of its commits
    generations  counts each change of a group's assignments
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING

from retrograde.runtime.errors import DataLossError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 30.0
_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, num_partitions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
  topic TEXT, part INTEGER, pos INTEGER, key TEXT NOT NULL, value BLOB NOT NULL, headers TEXT NOT NULL,
  timestamp_seconds REAL NOT NULL, PRIMARY KEY (topic, part, pos)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
  topic TEXT, team TEXT, part INTEGER, next_pos INTEGER NOT NULL, PRIMARY KEY (topic, team, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (
  topic TEXT, team TEXT, member TEXT, seen_seconds REAL NOT NULL, session_seconds REAL NOT NULL,
  PRIMARY KEY (topic, team, member)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS assignments (
  topic TEXT, team TEXT, part INTEGER, member TEXT NOT NULL, epoch INTEGER NOT NULL,
  PRIMARY KEY (topic, team, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
  topic TEXT, team TEXT, generation INTEGER NOT NULL, PRIMARY KEY (topic, team)) WITHOUT ROWID;
"""


def connect(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """A connection for one thread at a time; `durable` waits for the disk at every commit.

    Raises:
        InvalidInputError: the path cannot be opened, or holds something else.
        UnavailableError: others kept the file locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.OperationalError) as error:
        if "locked" in str(error):
            raise UnavailableError(f"broker: {path} stayed locked for {BUSY_SECONDS:.0f} s; call again") from error
        raise InvalidInputError(f"broker: {path} cannot be opened ({error}); name a file you may write to") from error
    except sqlite3.DatabaseError as error:
        raise InvalidInputError(f"broker: {path} is no broker file ({error}); name another file") from error
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the tables on first use."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found == _FORMAT:
        return
    if found:
        raise InvalidInputError(f"broker: {path} has format {found}, this build reads {_FORMAT}; name another file")
    _write_ahead(connection)
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switches the file to write-ahead logging; SQLite does not wait here by itself when several do it at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@contextlib.contextmanager
def answering(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into the platform's, with the path and the fix."""
    try:
        yield
    except sqlite3.OperationalError as error:
        free = shutil.disk_usage(path.parent).free / 2**20
        raise UnavailableError(
            f"broker: {path}: {error} ({free:.1f} MiB free there); the call had no effect"
        ) from error
    except sqlite3.ProgrammingError as error:
        raise UnavailableError(f"broker: {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DataLossError(f"broker: {path}: {error}; restore the file or begin another run") from error


@contextlib.contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction, alone in the file; undone if anything is raised inside."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has SQLite roll back by itself
            connection.execute("ROLLBACK")
        raise
