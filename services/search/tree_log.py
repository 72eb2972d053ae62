"""A tree is a log of its calls: each is stored before its effect is used, so that any worker continues any tree.

Records are objects `<prefix><seq>-<epoch>-<attempt>.pb`, one per call. A store has no conditional put, so records are
never overwritten: each attempt writes under names of its own and each record names the one before it. A reader follows
these names back from the last record of the newest epoch; what a stale worker still adds to an older epoch is a branch
nobody follows.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from retrograde.core.mcts import Call, CallKind, Reply
from retrograde.core.policy import Completion, Generation
from retrograde.core.problem import Cost, Grade
from retrograde.runtime.errors import NotFoundError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from retrograde.v1 import tree_log_pb2
from retrograde.wire.convert import EnumMap, cost_from_proto, cost_to_proto, grade_from_proto, grade_to_proto
from retrograde.wire.convert_rollout import generation_from_proto, generation_to_proto

TREE_LOG_VERSION = 1
"""Format of log records; a record of another version ends the log."""

_NAME = re.compile(r"(\d{6})-(\d{4})-([0-9a-f]{8})\.pb")
_CALL_KIND = EnumMap(CallKind, tree_log_pb2.CallKind, "CALL_KIND")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """One finished call."""

    call: Call
    generation: Generation
    grades: dict[int, Grade] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    @property
    def reply(self) -> Reply:
        """What the search is fed."""
        return Reply(self.generation.completions, self.grades)


class _Name(NamedTuple):
    """Of a record; the newest epoch's last one is the greatest."""

    epoch: int
    attempt: str
    seq: int

    def __str__(self) -> str:
        return f"{self.seq:06d}-{self.epoch:04d}-{self.attempt}.pb"


class TreeLog:
    """The log below `prefix` (which ends in "/"); `read` once, then `append`."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._chain: list[_Name] = []
        self._epoch = 0
        self._attempt = secrets.token_hex(4)

    async def read(self) -> list[Record]:
        """The records to continue from, oldest first."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[Record]:
        names = self._names()
        self._epoch = 1 + max((name.epoch for name in names), default=0)
        if not names:
            return []
        messages: list[tree_log_pb2.TreeLogRecord] = []
        name: _Name | None = max(names)
        while name is not None and (message := self._load(name)) is not None:
            self._chain.insert(0, name)
            messages.insert(0, message)
            name = _parse(message.parent)
        return self._checked([record_from_proto(message) for message in messages])

    def _checked(self, records: list[Record]) -> list[Record]:
        """All of them, or none when the chain does not reach back to the first call."""
        if [record.call.index for record in records] == list(range(len(records))):
            return records
        _log.warning("tree log is broken: starting again", prefix=self._prefix, num_records=len(records))
        self.truncate(0)
        return []

    def _names(self) -> list[_Name]:
        names = (_parse(key.removeprefix(self._prefix)) for key in self._store.list(self._prefix))
        return [name for name in names if name is not None]

    def _load(self, name: _Name) -> tree_log_pb2.TreeLogRecord | None:
        try:
            message = tree_log_pb2.TreeLogRecord.FromString(self._store.get(f"{self._prefix}{name}"))
        except (NotFoundError, DecodeError):
            return None
        return message if message.version == TREE_LOG_VERSION else None

    def truncate(self, num_records: int) -> None:
        """Goes on after the first `num_records`; the rest become a branch nobody follows."""
        del self._chain[num_records:]

    async def append(self, record: Record) -> None:
        """Durable when it returns."""
        name = _Name(self._epoch, self._attempt, len(self._chain))
        parent = str(self._chain[-1]) if self._chain else ""
        data = record_to_proto(record, parent).SerializeToString()
        await asyncio.to_thread(self._store.put, f"{self._prefix}{name}", data)
        self._chain.append(name)

    async def delete(self) -> None:
        """Forgets the tree: its records, and those of stale workers."""
        await asyncio.to_thread(self._delete)

    def _delete(self) -> None:
        for name in sorted(self._names()):
            self._store.delete(f"{self._prefix}{name}")


def _parse(text: str) -> _Name | None:
    match = _NAME.fullmatch(text)
    return _Name(int(match[2]), match[3], int(match[1])) if match else None


def record_to_proto(record: Record, parent: str) -> tree_log_pb2.TreeLogRecord:
    """Record -> message."""
    return tree_log_pb2.TreeLogRecord(
        version=TREE_LOG_VERSION,
        parent=parent,
        call_index=record.call.index,
        call_kind=_CALL_KIND.to_proto(record.call.kind),
        node=record.call.node,
        num_samples=record.call.num_samples,
        generation=generation_to_proto(record.generation),
        grades={position: grade_to_proto(grade) for position, grade in record.grades.items()},
        cost=cost_to_proto(record.cost),
    )


def record_from_proto(message: tree_log_pb2.TreeLogRecord) -> Record:
    """Message -> Record."""
    kind = _CALL_KIND.from_proto(message.call_kind)
    return Record(
        Call(message.call_index, kind, message.node, message.num_samples),
        generation_from_proto(message.generation),
        {position: grade_from_proto(grade) for position, grade in message.grades.items()},
        cost_from_proto(message.cost),
    )


def without_token_logprobs(generation: Generation) -> Generation:
    """As it is logged and fed: a search uses the sums."""
    completions = (
        Completion(text=each.text, token_ids=each.token_ids, logprob=each.logprob, finish_reason=each.finish_reason)
        for each in generation.completions
    )
    return Generation(
        tuple(completions),
        generation.policy_version,
        cached_tokens=generation.cached_tokens,
        engine_seconds=generation.engine_seconds,
    )
