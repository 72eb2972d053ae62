"""A consumer group in the SQLite broker: who is in it, who holds what, and how far each partition has come.

Every change of membership happens in one write transaction: expire who was not seen, spread the partitions, and stamp
those that moved with the new generation. A commit names the stamp it read under, so that a member whose partition went
to another (and perhaps came back) is refused. All functions run inside the caller's transaction.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrograde.runtime.adapters.assignment import assign

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class Group:
    """A group on a topic."""

    topic: str
    name: str
    num_partitions: int

    @property
    def ids(self) -> tuple[str, str]:
        """What every row of the group begins with."""
        return (self.topic, self.name)


def touch(db: sqlite3.Connection, group: Group, member: str, session_seconds: float) -> None:
    """Joins, or says that `member` is alive; takes the silent ones out; spreads the partitions if anything changed."""
    now = time.time()
    gone = _silent(db, group, now)
    for each in gone:
        db.execute("DELETE FROM members WHERE topic = ? AND team = ? AND member = ?", (*group.ids, each))
    known = db.execute("SELECT 1 FROM members WHERE topic = ? AND team = ? AND member = ?", (*group.ids, member))
    is_new = known.fetchone() is None
    db.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?)", (*group.ids, member, now, session_seconds))
    if gone or is_new:
        _spread(db, group)


def leave(db: sqlite3.Connection, group: Group, member: str) -> None:
    """Takes `member` out; its partitions go to the others at once."""
    db.execute("DELETE FROM members WHERE topic = ? AND team = ? AND member = ?", (*group.ids, member))
    _spread(db, group)


def holding(db: sqlite3.Connection, group: Group, member: str) -> dict[int, int]:
    """Partition -> the generation since which `member` holds it."""
    query = "SELECT part, epoch FROM assignments WHERE topic = ? AND team = ? AND member = ?"
    return dict(db.execute(query, (*group.ids, member)).fetchall())


def position(db: sqlite3.Connection, group: Group, partition: int) -> int:
    """The first offset not committed."""
    query = "SELECT next_pos FROM positions WHERE topic = ? AND team = ? AND part = ?"
    row = db.execute(query, (*group.ids, partition)).fetchone()
    return int(row[0]) if row else 0


def advance(db: sqlite3.Connection, group: Group, partition: int, next_offset: int) -> None:
    """Commits up to `next_offset`, never backwards."""
    db.execute(
        "INSERT INTO positions VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET next_pos = max(next_pos, excluded.next_pos)",
        (*group.ids, partition, next_offset),
    )


def _silent(db: sqlite3.Connection, group: Group, now: float) -> list[str]:
    """Members not seen for a session; a clock that jumped either way counts as silence, and they join again."""
    query = "SELECT member FROM members WHERE topic = ? AND team = ? AND abs(? - seen_seconds) > session_seconds"
    return [row[0] for row in db.execute(query, (*group.ids, now))]


def _spread(db: sqlite3.Connection, group: Group) -> None:
    """Gives the partitions to the members; what moved gets the new generation."""
    query = "SELECT member FROM members WHERE topic = ? AND team = ? ORDER BY member"
    members = [row[0] for row in db.execute(query, group.ids)]
    held = dict(db.execute("SELECT part, member FROM assignments WHERE topic = ? AND team = ?", group.ids).fetchall())
    db.execute(
        "INSERT INTO generations VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1", group.ids
    )
    query = "SELECT generation FROM generations WHERE topic = ? AND team = ?"
    generation = db.execute(query, group.ids).fetchone()[0]
    wanted = assign(group.num_partitions, members, held)
    if not members:
        db.execute("DELETE FROM assignments WHERE topic = ? AND team = ?", group.ids)
    moved = [(*group.ids, part, member, generation) for part, member in wanted.items() if held.get(part) != member]
    db.executemany("INSERT OR REPLACE INTO assignments VALUES (?, ?, ?, ?, ?)", moved)
