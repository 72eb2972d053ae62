"""Conversions between messages and domain types lose nothing and refuse what they do not know."""

from __future__ import annotations

import copy
import enum
from typing import Any

import numpy as np
import pytest

from retrograde.core.policy import Completion, Generation, Sampling
from retrograde.core.problem import Cost, Grade, Problem, Provenance, Verdict
from retrograde.core.rollout import RolloutGroup, Sample
from retrograde.core.solution import (
    Move,
    MoveKind,
    Rewriter,
    SearchTrace,
    Sentence,
    SentenceKind,
    Solution,
    SolutionKind,
)
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.runtime.errors import InvalidInputError
from retrograde.v1 import rollout_pb2, tree_pb2, verdict_pb2
from retrograde.wire import convert, convert_rollout, convert_solution

PROBLEM = Problem("p1", "countdown", "Numbers: 3 7 7, target: 28.", "28", "generated", "3")
PROVENANCE = Provenance("r1", "abc", "0.1.0", 7, 3, ("runs/r1/trees/p1.pb",), Cost(10, 20, 3, 1.5, 0.5))


def small_tree() -> SearchTree:
    """Root, one expanded child, one terminal from a rollout."""
    tree = SearchTree(PROBLEM, num_iterations=2, provenance=PROVENANCE)
    child = tree.add(Node(0, NodeOrigin.EXPANSION, " 3 * 7 = 21\n", -0.5, 6, 0.25, 2, 0.5, expanded=True))
    tree.add(Node(child, NodeOrigin.ROLLOUT, "no\n", grade=Grade(Verdict.INCORRECT, "33 is not 28", "33")))
    return tree


def test_tree_survives_the_wire() -> None:
    """A tree read back is equal, children included."""
    message = tree_pb2.SearchTree.FromString(convert.tree_to_proto(small_tree()).SerializeToString())
    assert convert.tree_from_proto(message) == small_tree()


def test_unknown_tree_version_is_refused() -> None:
    """A tree of a later format is refused with its version named."""
    message = convert.tree_to_proto(small_tree())
    message.version = 99
    with pytest.raises(InvalidInputError, match=r"tree\.version: 99"):
        convert.tree_from_proto(message)


def test_tree_with_a_parent_that_comes_later_is_refused() -> None:
    """Node order is checked, so that no reader meets a cycle."""
    message = convert.tree_to_proto(small_tree())
    message.nodes[1].parent = 2
    with pytest.raises(InvalidInputError, match=r"nodes\[1\]\.parent: 2"):
        convert.tree_from_proto(message)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_survives_the_wire(verdict: Verdict) -> None:
    """No verdict becomes another one."""
    grade = Grade(verdict, "why", "28", "28", "identical")
    assert convert.grade_from_proto(convert.grade_to_proto(grade)) == grade


def test_unspecified_verdict_is_refused() -> None:
    """An absent verdict is an error and never a silent default."""
    with pytest.raises(InvalidInputError, match="verdict: value 0"):
        convert.grade_from_proto(verdict_pb2.Grade())


def test_enum_member_missing_on_one_side_is_an_error() -> None:
    """A message value without a domain member is found when the map is made."""

    class Half(enum.Enum):
        CORRECT = 1

    with pytest.raises(ValueError, match="have no member in Half"):
        convert.EnumMap(Half, verdict_pb2.Verdict, "VERDICT")


def test_solution_set_survives_the_wire() -> None:
    """Sentences keep their node, kind and side of the path."""
    solution = Solution(
        id="p1-0",
        problem=PROBLEM,
        prompt="Solution:\n",
        sentences=(Sentence(SentenceKind.STEP, "a\n", 1, on_path=False), Sentence(SentenceKind.RETURN, "b\n", 0)),
        kind=SolutionKind.SEARCH,
        rewriter=Rewriter.LLM_THEN_TEMPLATE,
        trace=SearchTrace("k", (Move(MoveKind.STEP, 1), Move(MoveKind.BACKTRACK, 0)), (1, 2)),
        provenance=PROVENANCE,
    )
    solutions = convert_solution.SolutionSet("p1", (solution,), {"no_correct": 1}, PROVENANCE)
    message = convert_solution.solution_set_to_proto(solutions)
    assert convert_solution.solution_set_from_proto(message) == solutions


def test_generation_survives_the_wire() -> None:
    """Token ids and log-probabilities come back bit for bit."""
    completion = Completion(
        "hi", np.array([1, -2, 3], np.int32), np.array([-0.5, -1.25, 0], np.float32), -1.75, "length"
    )
    generation = Generation((completion,), 4, np.array([9], np.int32), 1, 0.25)
    back = convert_rollout.generation_from_proto(convert_rollout.generation_to_proto(generation))
    assert back.completions[0].token_ids.tolist() == [1, -2, 3]
    assert back.completions[0].logprobs.tolist() == [-0.5, -1.25, 0.0]
    assert (back.policy_version, back.cached_tokens, back.engine_seconds) == (4, 1, 0.25)
    assert (back.completions[0].finish_reason, back.prompt_token_ids.tolist()) == ("length", [9])


def test_sampling_survives_the_wire_and_zero_tokens_are_refused() -> None:
    """All sampling settings come back; a request that generates nothing is an error."""
    sampling = Sampling(4, 0.7, 0.9, 32, ("\n",), include_stop=True, seed=0, logprobs=True)
    message = convert_rollout.sampling_to_proto(sampling)
    assert convert_rollout.sampling_from_proto(message) == sampling
    message.max_tokens = 0
    with pytest.raises(InvalidInputError, match=r"sampling\.max_tokens: 0"):
        convert_rollout.sampling_from_proto(message)


def a_sample(**changes: object) -> Sample:
    """Two tokens, one of them masked, of two policies."""
    fields: dict[str, Any] = {
        "token_ids": np.array([5, -6], np.int32),
        "logprobs": np.array([-1, -0.5], np.float32),
        "text": "x",
        "finish_reason": "stop",
        "grade": Grade(Verdict.CORRECT, "", "28"),
        "reward": 1.0,
        "backtracks": 2,
        "mask": np.array([1, 0], np.uint8),
        "policy_versions": (3, 4),
        "cost": Cost(2, 2, 1, 0.5, 0.25, 1),
    }
    return Sample(**{**fields, **changes})


def test_rollout_group_survives_the_wire() -> None:
    """A group comes back with rewards, masks, versions, costs and lease, through bytes."""
    group = RolloutGroup("0000-0000001", "lease", PROBLEM, np.array([1, 2], np.int32), (a_sample(),), 3, 0)
    back = received(group)
    arrays = [back.prompt_token_ids, *(getattr(back.samples[0], name) for name in ("token_ids", "logprobs", "mask"))]
    assert [array.tolist() for array in arrays] == [[1, 2], [5, -6], [-1.0, -0.5], [1, 0]]
    assert (back.id, back.lease_id, back.problem, back.policy_version) == (group.id, "lease", PROBLEM, 3)
    assert (back.samples[0].reward, back.samples[0].backtracks, back.samples[0].grade.answer) == (1.0, 2, "28")
    assert (back.samples[0].policy_versions, back.samples[0].cost) == ((3, 4), Cost(2, 2, 1, 0.5, 0.25, 1))


def received(group: RolloutGroup) -> RolloutGroup:
    """As it comes through the wire."""
    data = convert_rollout.rollout_group_to_proto(group).SerializeToString()
    return convert_rollout.rollout_group_from_proto(rollout_pb2.RolloutGroup.FromString(data))


def test_samples_of_a_received_group_are_a_sequence() -> None:
    """Counted, indexed, sliced, gone through, copied and sent on as others are; each is the same one every time."""
    made = tuple(a_sample(reward=reward) for reward in (1.0, -1.0, 0.5))
    samples = received(RolloutGroup("g", "l", PROBLEM, np.array([1], np.int32), made, 3, 0)).samples
    assert len(samples) == 3
    assert [sample.reward for sample in samples] == [1.0, -1.0, 0.5]
    assert samples[-1] is list(samples[1:])[-1]
    assert [sample.reward for sample in copy.deepcopy(samples)] == [1.0, -1.0, 0.5]
    assert len(received(RolloutGroup("g", "l", PROBLEM, np.array([1], np.int32), samples, 3, 0)).samples) == 3


def test_a_received_group_refuses_arrays_that_do_not_fit_when_its_samples_are_read() -> None:
    """Also the second time."""
    message = convert_rollout.rollout_group_to_proto(
        RolloutGroup("g", "l", PROBLEM, np.array([1], np.int32), (a_sample(),), 3, 0)
    )
    message.samples[0].token_ids.data = b"123"
    samples = convert_rollout.rollout_group_from_proto(message).samples
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"token_ids\.data: 3 bytes"):
            list(samples)


def test_without_a_mask_all_tokens_are_trained_on() -> None:
    """Neither a sample that is made without one nor a message without one leaves tokens out."""
    message = convert_rollout.sample_to_proto(a_sample(mask=np.empty(0, np.uint8)))
    assert message.mask.data == b"\1\1"
    message.ClearField("mask")
    assert convert_rollout.sample_from_proto(message).mask.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"dtype": "<i8"}, r"token_ids\.dtype: '<i8' was sent and '<i4' is read"),
        ({"shape": [1, 2]}, r"token_ids\.shape: \[1, 2\] has 2 dimensions"),
        ({"shape": [3]}, r"token_ids\.data: 8 bytes do not hold 3 items of 4"),
        ({"data": b"123", "shape": []}, r"token_ids\.data: 3 bytes do not hold whole items of 4"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(changes: dict[str, Any], fault: str) -> None:
    """Wrong type, dimensions or number of bytes: the error names the field, what came and what is read."""
    message = convert_rollout.sample_to_proto(a_sample())
    fields = {"data": message.token_ids.data, "dtype": "<i4", "shape": [2], **changes}
    message.token_ids.CopyFrom(rollout_pb2.Int32Array(**fields))
    with pytest.raises(InvalidInputError, match=fault):
        convert_rollout.sample_from_proto(message)


def test_a_mask_of_another_length_is_refused() -> None:
    """In a message and in a sample."""
    message = convert_rollout.sample_to_proto(a_sample())
    message.mask.CopyFrom(convert_rollout.uint8_to_proto(np.ones(3, np.uint8)))
    with pytest.raises(InvalidInputError, match="mask: 3 values for 2 tokens"):
        convert_rollout.sample_from_proto(message)
    with pytest.raises(ValueError, match="mask: 3 values for 2 tokens"):
        a_sample(mask=np.ones(3, np.uint8))
