"""Problems, grades, costs, trees and walks: message <-> domain type.

Every pair is lossless: `x_from_proto(x_to_proto(x)) == x`. Enums map by name, so a new member on one side only is an
error at import and never a silent zero.
"""

from __future__ import annotations

import enum
from typing import Any, TypeVar

from retrograde.core.problem import Cost, Grade, Problem, Provenance, Verdict
from retrograde.core.solution import Move, MoveKind, SearchTrace
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import problem_pb2, provenance_pb2, trace_pb2, tree_pb2, verdict_pb2

TREE_VERSION = 1
"""Format of stored trees; a reader refuses a version it does not know."""

E = TypeVar("E", bound=enum.Enum)


class EnumMap:
    """A domain enum against its message enum, matched by member name behind the message enum's prefix."""

    def __init__(self, domain: type[enum.Enum], wrapper: Any, prefix: str) -> None:
        self._to = {member: wrapper.Value(f"{prefix}_{member.name}") for member in domain}
        self._from = {number: member for member, number in self._to.items()}
        unknown = set(wrapper.values()) - set(self._from) - {0}
        if unknown:
            raise ValueError(f"{prefix}: message values {sorted(unknown)} have no member in {domain.__name__}")
        self._prefix = prefix

    def to_proto(self, member: enum.Enum) -> Any:
        """The message's number."""
        return self._to[member]

    def from_proto(self, number: int) -> Any:
        """The domain's member. Raises InvalidInputError for the unspecified and the unknown."""
        try:
            return self._from[number]
        except KeyError:
            raise InvalidInputError(f"{self._prefix.lower()}: value {number} is unspecified or unknown") from None


_VERDICT = EnumMap(Verdict, verdict_pb2.Verdict, "VERDICT")
_ORIGIN = EnumMap(NodeOrigin, tree_pb2.NodeOrigin, "NODE_ORIGIN")
_MOVE = EnumMap(MoveKind, trace_pb2.MoveKind, "MOVE_KIND")


def problem_to_proto(problem: Problem) -> problem_pb2.Problem:
    """Problem -> message."""
    return problem_pb2.Problem(
        id=problem.id,
        task=problem.task,
        statement=problem.statement,
        gold=problem.gold,
        source=problem.source,
        level=problem.level,
    )


def problem_from_proto(message: problem_pb2.Problem) -> Problem:
    """Message -> Problem. Raises InvalidInputError when id or task is missing."""
    if not message.id or not message.task:
        raise InvalidInputError(f"problem: id {message.id!r} and task {message.task!r} must both be given")
    return Problem(message.id, message.task, message.statement, message.gold, message.source, message.level)


def grade_to_proto(grade: Grade) -> verdict_pb2.Grade:
    """Grade -> message."""
    return verdict_pb2.Grade(
        verdict=_VERDICT.to_proto(grade.verdict),
        reason=grade.reason,
        answer=grade.answer,
        expected=grade.expected,
        path=grade.path,
    )


def grade_from_proto(message: verdict_pb2.Grade) -> Grade:
    """Message -> Grade."""
    return Grade(_VERDICT.from_proto(message.verdict), message.reason, message.answer, message.expected, message.path)


def cost_to_proto(cost: Cost) -> provenance_pb2.Cost:
    """Cost -> message."""
    return provenance_pb2.Cost(
        prompt_tokens=cost.prompt_tokens,
        generated_tokens=cost.generated_tokens,
        verifier_calls=cost.verifier_calls,
        wall_seconds=cost.wall_seconds,
        accelerator_seconds=cost.accelerator_seconds,
        model_calls=cost.model_calls,
    )


def cost_from_proto(message: provenance_pb2.Cost) -> Cost:
    """Message -> Cost."""
    return Cost(
        message.prompt_tokens,
        message.generated_tokens,
        message.verifier_calls,
        message.wall_seconds,
        message.accelerator_seconds,
        message.model_calls,
    )


def provenance_to_proto(provenance: Provenance) -> provenance_pb2.Provenance:
    """Provenance -> message."""
    return provenance_pb2.Provenance(
        run_id=provenance.run_id,
        recipe_hash=provenance.recipe_hash,
        code_version=provenance.code_version,
        policy_version=provenance.policy_version,
        seed=provenance.seed,
        parent_keys=provenance.parent_keys,
        cost=cost_to_proto(provenance.cost),
    )


def provenance_from_proto(message: provenance_pb2.Provenance) -> Provenance:
    """Message -> Provenance."""
    return Provenance(
        message.run_id,
        message.recipe_hash,
        message.code_version,
        message.policy_version,
        message.seed,
        tuple(message.parent_keys),
        cost_from_proto(message.cost),
    )


def _node_to_proto(node: Node) -> tree_pb2.Node:
    return tree_pb2.Node(
        parent=node.parent,
        origin=_ORIGIN.to_proto(node.origin),
        step=node.step,
        logprob=node.logprob,
        num_tokens=node.num_tokens,
        num_proposed=node.num_proposed,
        prior=node.prior,
        visits=node.visits,
        value=node.value,
        expanded=node.expanded,
        grade=None if node.grade is None else grade_to_proto(node.grade),
    )


def _node_from_proto(message: tree_pb2.Node) -> Node:
    return Node(
        parent=message.parent,
        origin=_ORIGIN.from_proto(message.origin),
        step=message.step,
        logprob=message.logprob,
        num_tokens=message.num_tokens,
        num_proposed=message.num_proposed,
        prior=message.prior,
        visits=message.visits,
        value=message.value,
        expanded=message.expanded,
        grade=grade_from_proto(message.grade) if message.HasField("grade") else None,
    )


def tree_to_proto(tree: SearchTree) -> tree_pb2.SearchTree:
    """SearchTree -> message; children are implied by the parents."""
    return tree_pb2.SearchTree(
        version=TREE_VERSION,
        problem=problem_to_proto(tree.problem),
        nodes=[_node_to_proto(node) for node in tree.nodes],
        num_iterations=tree.num_iterations,
        provenance=provenance_to_proto(tree.provenance),
    )


def tree_from_proto(message: tree_pb2.SearchTree) -> SearchTree:
    """Message -> SearchTree. Raises InvalidInputError on an unknown version or a parent that does not come first."""
    if message.version != TREE_VERSION:
        raise InvalidInputError(f"tree.version: {message.version} is unknown; this build reads {TREE_VERSION}")
    nodes = [_node_from_proto(node) for node in message.nodes]
    for index, node in enumerate(nodes[1:], start=1):
        if not 0 <= node.parent < index:
            raise InvalidInputError(f"tree.nodes[{index}].parent: {node.parent} is not an earlier node")
        nodes[node.parent].children.append(index)
    provenance = provenance_from_proto(message.provenance)
    return SearchTree(problem_from_proto(message.problem), nodes, message.num_iterations, provenance)


def trace_to_proto(trace: SearchTrace) -> trace_pb2.SearchTrace:
    """SearchTrace -> message."""
    moves = [trace_pb2.Move(kind=_MOVE.to_proto(move.kind), node=move.node) for move in trace.moves]
    return trace_pb2.SearchTrace(tree_key=trace.tree_key, moves=moves, terminals=trace.terminals)


def trace_from_proto(message: trace_pb2.SearchTrace) -> SearchTrace:
    """Message -> SearchTrace."""
    moves = tuple(Move(_MOVE.from_proto(move.kind), move.node) for move in message.moves)
    return SearchTrace(message.tree_key, moves, tuple(message.terminals))
