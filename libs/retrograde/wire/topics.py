"""The topics of the platform: their names, who consumes them, and what their messages are."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message as ProtoMessage

from retrograde.v1 import messages_pb2

PROBLEMS_TOPIC = "retrograde.problems.v1"
TREES_TOPIC = "retrograde.trees.v1"
SOLUTIONS_TOPIC = "retrograde.solutions.v1"
CHECKPOINTS_TOPIC = "retrograde.checkpoints.v1"
NUM_PARTITIONS = 16

SEARCH_GROUP = "search"
REWRITER_GROUP = "rewriter"

MESSAGE_TYPES: Mapping[str, type[ProtoMessage]] = {
    PROBLEMS_TOPIC: messages_pb2.ProblemQueued,
    TREES_TOPIC: messages_pb2.TreeReady,
    SOLUTIONS_TOPIC: messages_pb2.SolutionsReady,
    CHECKPOINTS_TOPIC: messages_pb2.CheckpointReady,
}


def cancelled_key(run_id: str) -> str:
    """An object that is there while the run is cancelled: its problems on the topic are passed over."""
    return f"runs/{run_id}/cancelled"
