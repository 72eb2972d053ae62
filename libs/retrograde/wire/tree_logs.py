"""The log of an unfinished tree, as it is stored and read; docs/tree_log.md describes it.

segments `<epoch>-<attempt>-<seq>.pb` -> the chain that ends in the newest -> its records -> the tree so far
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError

from retrograde.core.search import Search
from retrograde.runtime.errors import NotFoundError
from retrograde.v1 import tree_log_pb2
from retrograde.wire.records import Record, record_from_proto

TREE_LOG_VERSION = 2
"""Format of the log; a log of another format is not continued."""

_NAME = re.compile(r"(\d{6})-([0-9a-f]{8})-(\d{6})\.pb")


class BrokenChainError(Exception):
    """A segment that others continue is missing, damaged or too short."""


class SegmentName(NamedTuple):
    """The newest epoch's last one is the greatest. Of two attempts in one epoch, one is the newer."""

    epoch: int
    attempt: str
    seq: int

    @classmethod
    def parse(cls, text: str) -> SegmentName | None:
        """None for what is no name of a segment."""
        match = _NAME.fullmatch(text)
        return cls(int(match[1]), match[2], int(match[3])) if match else None

    def __str__(self) -> str:
        return f"{self.epoch:06d}-{self.attempt}-{self.seq:06d}.pb"


class Link(NamedTuple):
    """The first `num_records` of a segment: what a chain takes from it."""

    name: SegmentName
    num_records: int


class Chain(NamedTuple):
    """Segments that continue each other, oldest first, and their records."""

    links: list[Link]
    records: list[Record]


def read_chain(names: Iterable[SegmentName], get: Callable[[str], bytes]) -> Chain:
    """What the newest of the segments continues, read by `get`; empty if there is none. Raises BrokenChainError."""
    name = max(names, default=None)
    wanted: int | None = None  # all of the newest
    links: list[Link] = []
    messages: list[tree_log_pb2.TreeLogRecord] = []
    while name is not None:
        segment = _segment(name, get, wanted or 0)
        taken = segment.records[:wanted]
        if taken:
            links.insert(0, Link(name, len(taken)))
        messages[:0] = taken
        name, wanted = SegmentName.parse(segment.parent), segment.num_parent_records
    return Chain(links, [record_from_proto(message) for message in messages])


def _segment(name: SegmentName, get: Callable[[str], bytes], wanted: int) -> tree_log_pb2.TreeLogSegment:
    try:
        segment = tree_log_pb2.TreeLogSegment.FromString(get(str(name)))
    except (NotFoundError, DecodeError) as error:
        raise BrokenChainError(f"{name}: {error}") from error
    if segment.version != TREE_LOG_VERSION or len(segment.records) < wanted:
        raise BrokenChainError(f"{name}: format {segment.version}, {len(segment.records)} of {wanted} records")
    return segment


def replay(search: Search, records: Sequence[Record], *, in_order: bool) -> int:
    """Feeds a log to a fresh search, `in_order` of the calls or as they arrived; returns how many were fed.

    What remains waits for calls before it that were not answered, or is of another search.
    """
    ordered = sorted(records, key=lambda record: record.call.index) if in_order else records
    for position, record in enumerate(ordered):
        oldest = next(iter(search.in_flight), None)
        call = record.call
        if search.in_flight.get(call.index) != call or (in_order and call.index != oldest):
            return position
        if search.to_grade(call, record.generation.completions).keys() != record.grades.keys():
            return position
        search.feed(call, record.reply)
        search.tree.provenance.cost.add(record.cost)
        if record.generation.completions:
            search.tree.provenance.policy_version = record.generation.policy_version
    return len(ordered)
