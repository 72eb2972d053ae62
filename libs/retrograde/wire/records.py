"""One finished call of a search, as it is logged and fed."""

from __future__ import annotations

from dataclasses import dataclass, field

from retrograde.core.policy import Completion, Generation
from retrograde.core.problem import Cost, Grade
from retrograde.core.search import Call, CallKind, Reply
from retrograde.v1 import tree_log_pb2
from retrograde.wire.convert import EnumMap, cost_from_proto, cost_to_proto, grade_from_proto, grade_to_proto
from retrograde.wire.convert_rollout import generation_from_proto, generation_to_proto

_CALL_KIND = EnumMap(CallKind, tree_log_pb2.CallKind, "CALL_KIND")


@dataclass(frozen=True, slots=True)
class Record:
    """What was asked, what came back, what it cost."""

    call: Call
    generation: Generation
    grades: dict[int, Grade] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)

    @property
    def reply(self) -> Reply:
        """What the search is fed."""
        return Reply(self.generation.completions, self.grades)


def record_to_proto(record: Record) -> tree_log_pb2.TreeLogRecord:
    """Record -> message."""
    return tree_log_pb2.TreeLogRecord(
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
