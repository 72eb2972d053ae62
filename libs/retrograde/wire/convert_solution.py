"""Solutions: message <-> domain type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrograde.core.problem import Provenance
from retrograde.core.solution import Rewriter, Sentence, SentenceKind, Solution, SolutionKind
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import solution_pb2
from retrograde.wire.convert import (
    EnumMap,
    problem_from_proto,
    problem_to_proto,
    provenance_from_proto,
    provenance_to_proto,
    trace_from_proto,
    trace_to_proto,
)

SOLUTION_SET_VERSION = 1
"""Format of stored solution sets; a reader refuses a version it does not know."""

_SENTENCE = EnumMap(SentenceKind, solution_pb2.SentenceKind, "SENTENCE_KIND")
_KIND = EnumMap(SolutionKind, solution_pb2.SolutionKind, "SOLUTION_KIND")
_REWRITER = EnumMap(Rewriter, solution_pb2.Rewriter, "REWRITER")


@dataclass(frozen=True, slots=True)
class SolutionSet:
    """All solutions of one tree, and how many walks were refused by which reason."""

    problem_id: str
    solutions: Sequence[Solution]
    rejected: Mapping[str, int] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)


def rewriter_to_proto(rewriter: Rewriter) -> solution_pb2.Rewriter.ValueType:
    """Rewriter -> message value."""
    return _REWRITER.to_proto(rewriter)  # type: ignore[no-any-return]


def rewriter_from_proto(number: int) -> Rewriter:
    """Message value -> Rewriter."""
    return _REWRITER.from_proto(number)  # type: ignore[no-any-return]


def _sentence_to_proto(sentence: Sentence) -> solution_pb2.Sentence:
    return solution_pb2.Sentence(
        kind=_SENTENCE.to_proto(sentence.kind), text=sentence.text, node=sentence.node, on_path=sentence.on_path
    )


def _sentence_from_proto(message: solution_pb2.Sentence) -> Sentence:
    return Sentence(_SENTENCE.from_proto(message.kind), message.text, message.node, message.on_path)


def solution_to_proto(solution: Solution) -> solution_pb2.Solution:
    """Solution -> message."""
    return solution_pb2.Solution(
        id=solution.id,
        problem=problem_to_proto(solution.problem),
        prompt=solution.prompt,
        sentences=[_sentence_to_proto(sentence) for sentence in solution.sentences],
        kind=_KIND.to_proto(solution.kind),
        rewriter=_REWRITER.to_proto(solution.rewriter),
        trace=trace_to_proto(solution.trace),
        provenance=provenance_to_proto(solution.provenance),
    )


def solution_from_proto(message: solution_pb2.Solution) -> Solution:
    """Message -> Solution."""
    return Solution(
        id=message.id,
        problem=problem_from_proto(message.problem),
        prompt=message.prompt,
        sentences=tuple(_sentence_from_proto(sentence) for sentence in message.sentences),
        kind=_KIND.from_proto(message.kind),
        rewriter=_REWRITER.from_proto(message.rewriter),
        trace=trace_from_proto(message.trace),
        provenance=provenance_from_proto(message.provenance),
    )


def solution_set_to_proto(solutions: SolutionSet) -> solution_pb2.SolutionSet:
    """SolutionSet -> message."""
    return solution_pb2.SolutionSet(
        version=SOLUTION_SET_VERSION,
        problem_id=solutions.problem_id,
        solutions=[solution_to_proto(solution) for solution in solutions.solutions],
        rejected=dict(solutions.rejected),
        provenance=provenance_to_proto(solutions.provenance),
    )


def solution_set_from_proto(message: solution_pb2.SolutionSet) -> SolutionSet:
    """Message -> SolutionSet. Raises InvalidInputError on an unknown version."""
    if message.version != SOLUTION_SET_VERSION:
        raise InvalidInputError(
            f"solution_set.version: {message.version} is unknown; this build reads {SOLUTION_SET_VERSION}"
        )
    return SolutionSet(
        message.problem_id,
        tuple(solution_from_proto(solution) for solution in message.solutions),
        dict(message.rejected),
        provenance_from_proto(message.provenance),
    )
