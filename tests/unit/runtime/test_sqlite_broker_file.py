"""What only the SQLite broker has to answer: its file."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

from retrograde.runtime.adapters import sqlite_file
from retrograde.runtime.adapters.sqlite_broker import SqliteBroker
from retrograde.runtime.errors import DataLossError, FencedError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """A file that is no database is named, and left as it is."""
    path = tmp_path / "b.db"
    path.write_text("dear diary" * 100)
    with pytest.raises(InvalidInputError, match=f"{path} is no broker file"):
        SqliteBroker(path)
    assert path.read_text() == "dear diary" * 100


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A path that is a directory is named."""
    with pytest.raises(InvalidInputError, match=f"{tmp_path} cannot be opened"):
        SqliteBroker(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A file of a later version is not touched."""
    path = tmp_path / "b.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(InvalidInputError, match="format 7, this build reads 1"):
        SqliteBroker(path)


def test_a_file_locked_by_another_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process keeps the file locked, a call ends with UnavailableError after the busy time."""
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.1)
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic("t", 1)
    other = sqlite3.connect(tmp_path / "b.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="locked"):
        broker.publish("t", "k", b"")
    other.execute("ROLLBACK")
    broker.publish("t", "k", b"")
    assert broker.lag("t", "g") == 1
    other.close()
    broker.close()


def test_a_writer_waits_its_turn(tmp_path: Path) -> None:
    """A lock held for a moment only delays a call."""
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic("t", 1)
    other = sqlite3.connect(tmp_path / "b.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    started = time.monotonic()
    broker.publish("t", "k", b"")
    assert time.monotonic() - started > 0.2
    release.join()
    other.close()
    broker.close()


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    """When the file cannot grow, the call says so with the path, and what was there stays readable."""
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic("t", 1)
    broker.publish("t", "k", b"kept")
    pages = broker._db.execute("PRAGMA page_count").fetchone()[0]
    broker._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UnavailableError, match=r"b\.db: database or disk is full \(.* MiB free there\)"):
        broker.publish("t", "k", b"x" * 100_000)
    broker._db.execute("PRAGMA max_page_count = 1000000")
    broker.publish("t", "k", b"after")
    consumer = broker.consumer("t", "g")
    assert [message.value for message in consumer.poll(1, 10)] == [b"kept", b"after"]
    consumer.close()
    broker.close()


def test_a_damaged_file_is_data_loss(tmp_path: Path) -> None:
    """A file overwritten in its middle is named as damaged, not taken for a passing fault."""
    path = tmp_path / "b.db"
    broker = SqliteBroker(path)
    broker.create_topic("t", 1)
    for _ in range(50):
        broker.publish("t", "k", b"x" * 1000)
    broker.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    broken = SqliteBroker(path)
    with pytest.raises(DataLossError, match="malformed"):
        broken.publish("t", "k", b"")
    broken.close()


def test_a_closed_broker_says_so(tmp_path: Path) -> None:
    """A call after close is an UnavailableError."""
    broker = SqliteBroker(tmp_path / "b.db")
    broker.close()
    with pytest.raises(UnavailableError, match="closed"):
        broker.lag("t", "g")


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Threads that make the same file together all succeed, and there is one topic."""
    brokers: list[SqliteBroker] = []
    threads = [threading.Thread(target=lambda: brokers.append(SqliteBroker(tmp_path / "b.db"))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for broker in brokers:
        broker.create_topic("t", 2)
        broker.publish("t", "k", b"")
    assert [broker.lag("t", "g") for broker in brokers] == [8] * 8
    for broker in brokers:
        broker.close()


def test_a_clock_set_back_does_not_keep_the_dead(tmp_path: Path) -> None:
    """A member last seen in the future (the clock was set back) counts as silent."""
    broker = SqliteBroker(tmp_path / "b.db", session_seconds=1.0)
    broker.create_topic("t", 2)
    row = ("t", "g", "ghost", time.time() + 3600, 1.0)
    broker._db.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?)", row)
    broker._db.execute("INSERT INTO assignments VALUES ('t', 'g', 0, 'ghost', 1), ('t', 'g', 1, 'ghost', 1)")
    consumer = broker.consumer("t", "g")
    assert list(consumer.assignment()) == [0, 1]
    consumer.close()
    broker.close()


def test_a_member_taken_for_dead_joins_again(tmp_path: Path) -> None:
    """A live member whose row was expired is back with the next heartbeat."""
    broker = SqliteBroker(tmp_path / "b.db", session_seconds=0.3)
    broker.create_topic("t", 2)
    consumer = broker.consumer("t", "g")
    broker._db.execute("DELETE FROM members")
    broker._db.execute("DELETE FROM assignments")
    assert list(consumer.assignment()) == []
    time.sleep(0.3)
    assert list(consumer.assignment()) == [0, 1]
    consumer.close()
    consumer.close()
    broker.close()


def test_a_partition_that_went_and_came_back_unnoticed_is_fenced(tmp_path: Path) -> None:
    """A member that did not look while its partition was another's cannot commit what it took before."""
    broker = SqliteBroker(tmp_path / "b.db")
    broker.create_topic("t", 2)
    for number in range(10):
        broker.publish("t", f"k{number}", b"")
    one = broker.consumer("t", "g")
    messages = one.poll(1, 10)
    two = broker.consumer("t", "g")
    (moved,) = two.assignment()
    two.close()
    old = next(message for message in messages if message.partition == moved)
    with pytest.raises(FencedError, match="another member"):
        one.commit(old)
    one.commit(next(message for message in messages if message.partition != moved))
    one.close()
    broker.close()
