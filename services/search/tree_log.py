"""A tree is a log of its calls: each is stored before its effect is used, so that any worker continues any tree.

    open    follow the chain back from the newest epoch -> begin a newer epoch with an empty segment
    read    the records found
    append  rewrite the open segment with the new records; a full one is left for good and the next begins
    check   is this epoch still the newest?

Segments are objects `<prefix><epoch>-<attempt>-<seq>.pb` of up to 16 records. A store has no append and no conditional
put, so that nobody writes a name of another attempt, and each segment names the one before it and how many of its
records it continues: what a stale worker adds to an older epoch is a branch nobody follows. docs/tree_log.md has the
format and what follows from it.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

from retrograde.runtime.errors import FencedError, NotFoundError, OverloadedError, UnavailableError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import tree_log_pb2
from retrograde.wire.records import Record, record_to_proto
from retrograde.wire.tree_logs import TREE_LOG_VERSION, BrokenChainError, Link, SegmentName, read_chain
from services.search.patience import until_available

SEGMENT_RECORDS = 16
SEGMENT_BYTES = 1 << 20
"""A segment that holds this much is full, however few its records: it is written again with each of them."""
CHECK_SECONDS = 1.0
"""An appending worker looks this often at most whether it was fenced: it then searches on for nobody no longer."""

_NAME_OF_FORMAT_1 = re.compile(r"\d{6}-\d{4}-[0-9a-f]{8}\.pb")
_log = get_logger(__name__)


class TreeLog:
    """The log below `prefix` (which ends in "/"): `open`, `read` once, then `append` by one task.

    Store calls wait for a store that is away or full. After a cancelled call the object must not be used again.
    """

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._chain: list[Link] = []  # before the open segment
        self._name = SegmentName(0, secrets.token_hex(4), 0)
        self._data = b""  # of the open segment
        self._num_records = 0  # in it
        self._is_stored = False
        self._checked_at = time.monotonic()
        self._found: list[Record] | None = None  # once it is open, until it is read

    async def open(self) -> None:
        """Takes the tree over: whoever opened its log before is fenced from now on.

        Raises FencedError when that took long and another worker did the same meanwhile.
        """
        self._checked_at = time.monotonic()
        self._found = await until_available(self._read, self._prefix)
        self._begin_segment()
        await self._put()
        await self.check_now_and_then()

    async def read(self) -> list[Record]:
        """The records to continue from, in the order of arrival; opens the log unless it is open."""
        if self._found is None:
            await self.open()
        found, self._found = self._found or [], None
        return found

    def truncate(self, num_records: int) -> None:
        """Right after `read`: goes on after the first `num_records`; the rest become a branch nobody follows."""
        kept = []
        for link in self._chain:
            taken = min(link.num_records, num_records)
            num_records -= taken
            kept += [Link(link.name, taken)] if taken else []
        self._chain = kept
        self._begin_segment()

    async def append(self, records: Sequence[Record]) -> None:
        """Durable when it returns: one put, and one more for each segment that is full.

        Raises FencedError, within CHECK_SECONDS and another append, when another worker has taken the tree over.
        """
        await self.check_now_and_then()  # before the put: it would bring a deleted log back
        for record in records:
            if self._num_records >= SEGMENT_RECORDS or len(self._data) >= SEGMENT_BYTES:
                await self._next_segment()
            self._add(record)
        if not self._is_stored:
            await self._put()
        await self.check_now_and_then()  # the put may have taken long

    async def check(self) -> None:
        """Raises FencedError if another worker has taken the tree over, or finished it and deleted the log."""
        self._checked_at = time.monotonic()
        names = await until_available(self._names, self._prefix)
        newest = max(names, default=self._name)
        if newest[:2] > self._name[:2]:
            raise FencedError(f"{self._prefix}: epoch {self._name.epoch} is over, another worker began {newest.epoch}")
        if not any(name[:2] == self._name[:2] for name in names):
            raise FencedError(f"{self._prefix}: epoch {self._name.epoch} is over, another worker deleted the log")

    async def check_now_and_then(self) -> None:
        """`check`, unless the last one is less than CHECK_SECONDS ago: after anything that may have taken long."""
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            await self.check()

    async def newest(self) -> tuple[str, int]:
        """Name and bytes of the newest segment; ("", 0) if there is none: differs when somebody has appended."""
        return await until_available(self._newest, self._prefix)

    async def delete(self) -> None:
        """Forgets the tree: its segments, those of stale workers, and a log of format 1."""
        await until_available(self._delete, self._prefix)

    def _read(self) -> list[Record]:
        keys = self._keys()
        if any(map(_NAME_OF_FORMAT_1.fullmatch, keys)):
            _log.warning("tree log is of format 1: starting again", prefix=self._prefix)
        names = [name for key in keys if (name := SegmentName.parse(key))]
        self._name = SegmentName(1 + max((name.epoch for name in names), default=0), self._name.attempt, 0)
        try:
            self._chain, records = read_chain(names, lambda name: self._store.get(f"{self._prefix}{name}"))
        except BrokenChainError as error:
            _log.warning("tree log is broken: starting again", prefix=self._prefix, reason=str(error))
            self._chain, records = [], []
        return records

    def _begin_segment(self) -> None:
        parent = self._chain[-1] if self._chain else None
        self._data = tree_log_pb2.TreeLogSegment(
            version=TREE_LOG_VERSION,
            parent=str(parent.name) if parent else "",
            num_parent_records=parent.num_records if parent else 0,
        ).SerializeToString()
        self._num_records = 0
        self._is_stored = False

    def _add(self, record: Record) -> None:
        """Messages put one after the other are read as one."""
        self._data += tree_log_pb2.TreeLogSegment(records=[record_to_proto(record)]).SerializeToString()
        self._num_records += 1
        self._is_stored = False

    async def _put(self) -> None:
        await until_available(self._put_once, f"{self._prefix}{self._name}")
        self._is_stored = True

    def _put_once(self) -> None:
        """A put that failed may still happen, late: its name is not used again, so that it undoes nothing."""
        try:
            self._store.put(f"{self._prefix}{self._name}", self._data)
        except (UnavailableError, OverloadedError):
            self._name = self._name._replace(seq=self._name.seq + 1)
            raise

    async def _next_segment(self) -> None:
        if not self._is_stored:
            await self._put()
        self._chain.append(Link(self._name, self._num_records))
        self._name = self._name._replace(seq=self._name.seq + 1)
        self._begin_segment()

    def _keys(self) -> list[str]:
        return [key.removeprefix(self._prefix) for key in self._store.list(self._prefix)]

    def _names(self) -> list[SegmentName]:
        return [name for key in self._keys() if (name := SegmentName.parse(key))]

    def _newest(self) -> tuple[str, int]:
        names = self._names()
        try:
            return (str(max(names)), len(self._store.get(f"{self._prefix}{max(names)}"))) if names else ("", 0)
        except NotFoundError:  # deleted since it was listed
            return ("", 0)

    def _delete(self) -> None:
        for key in self._keys():
            if SegmentName.parse(key) or _NAME_OF_FORMAT_1.fullmatch(key):
                self._store.delete(f"{self._prefix}{key}")
