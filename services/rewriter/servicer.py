"""The RPCs on stored trees: walks and words for variants of the same search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from retrograde.core.invariants import Reason, check_solution
from retrograde.core.settings import LinearizeSettings, RewriteSettings
from retrograde.core.solution import Rewriter, SearchTrace, Solution, SolutionKind
from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import Task, TaskError, load_task
from retrograde.v1 import rewriter_service_pb2 as pb
from retrograde.v1.rewriter_service_pb2_grpc import RewriterServiceServicer
from retrograde.wire.convert import trace_from_proto, trace_to_proto
from retrograde.wire.convert_solution import rewriter_from_proto, solution_to_proto
from retrograde.wire.recipes import parse_settings
from services.rewriter.pipeline import Pipeline
from services.rewriter.teller import Subject, Teller
from services.rewriter.worker import load_tree

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class RewriterServicer(RewriterServiceServicer):
    """Linearizes and rewrites; nothing but judgements is stored."""

    def __init__(self, store: ObjectStore, pipeline: Pipeline, teller: Teller) -> None:
        self._store = store
        self._pipeline = pipeline
        self._teller = teller

    async def Linearize(self, request: pb.LinearizeRequest, context: Context) -> pb.LinearizeResponse:
        """Walks over the tree at `tree_key`."""
        settings = parse_settings(LinearizeSettings, request.settings_json, "settings_json")
        tree, task = await self._open(request.tree_key)
        linearized, _ = await self._pipeline.walks(tree, request.tree_key, task, settings)
        traces = [trace_to_proto(trace) for trace in linearized.traces]
        return pb.LinearizeResponse(traces=traces, rejected=linearized.rejected)

    async def Rewrite(self, request: pb.RewriteRequest, context: Context) -> pb.RewriteResponse:
        """One walk in words."""
        method = "template" if rewriter_from_proto(request.rewriter) is Rewriter.TEMPLATE else "llm"
        settings = parse_settings(RewriteSettings, request.settings_json, "settings_json")
        settings = settings.model_copy(update={"method": method})
        trace = trace_from_proto(request.trace)
        tree, task = await self._open(trace.tree_key)
        _check_walk(tree, trace, task)
        (told,) = await self._teller.tell(Subject(tree, task, settings), [trace])
        if told.solution is None:
            raise InvalidInputError(f"trace: cannot be told: {', '.join(told.faults)}; ask for another walk")
        told.solution.provenance.parent_keys = (trace.tree_key,)
        told.solution.provenance.cost = told.cost
        return pb.RewriteResponse(solution=solution_to_proto(told.solution), violations=told.refused)

    async def _open(self, tree_key: str) -> tuple[SearchTree, Task]:
        if not tree_key:
            raise InvalidInputError("tree_key: empty; name a stored tree, such as runs/demo/trees/p1.pb")
        tree = await load_tree(self._store, tree_key)
        try:
            return tree, load_task(tree.problem.task)
        except TaskError as error:
            raise InvalidInputError(f"{tree_key}: {error}") from error


def _check_walk(tree: SearchTree, trace: SearchTrace, task: Task) -> None:
    """Raises InvalidInputError if `trace` is no walk over `tree`."""
    untold = Solution("", tree.problem, "", (), SolutionKind.SEARCH, Rewriter.TEMPLATE, trace)
    for fault in check_solution(untold, tree, task)[:1]:
        if fault.reason is not Reason.OUT_OF_ORDER:
            raise InvalidInputError(f"trace: {fault.reason.value}: {fault.detail}; send a trace of Linearize")
