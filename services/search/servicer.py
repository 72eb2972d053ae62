"""The Search RPC: from message, search, to messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from pydantic import Field

import retrograde
from retrograde.core.mcts import SearchError, TreeSearch
from retrograde.core.problem import Provenance
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import InvalidInputError, OverloadedError, UnavailableError
from retrograde.tasks.task import TaskError, load_task
from retrograde.v1 import search_service_pb2 as pb
from retrograde.v1.search_service_pb2_grpc import SearchServiceServicer
from retrograde.wire.convert import cost_to_proto, problem_from_proto, tree_to_proto
from retrograde.wire.recipes import parse_settings
from services.search.driver import Driver, NoLog

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


class WatchedSearch(SearchSettings):
    """What `settings_json` of the RPC may say."""

    stream_tree: bool = Field(default=False, description="Send the tree with every message, not with the last alone.")


class SearchServicer(SearchServiceServicer):
    """Searches one problem while the caller looks on; nothing is stored."""

    def __init__(self, driver: Driver, max_watched: int, drain: asyncio.Event) -> None:
        self._driver = driver
        self._max_watched = max_watched
        self._drain = drain
        self._num_watched = 0

    async def Search(self, request: pb.SearchRequest, context: Context) -> AsyncIterator[pb.SearchResponse]:
        """Progress after each iteration; the last message carries the tree."""
        if self._num_watched >= self._max_watched:
            raise OverloadedError(f"{self._max_watched} searches are being watched already; try again later")
        settings = parse_settings(WatchedSearch, request.settings_json, "settings_json")
        self._num_watched += 1
        try:
            async for response in self._search(request, settings):
                yield response
        except (TaskError, SearchError) as error:
            raise InvalidInputError(f"problem: {error}") from error
        finally:
            self._num_watched -= 1

    async def _search(self, request: pb.SearchRequest, settings: WatchedSearch) -> AsyncIterator[pb.SearchResponse]:
        problem = problem_from_proto(request.problem)
        provenance = Provenance(code_version=retrograde.__version__, seed=request.seed)
        search = TreeSearch(SearchTree(problem, provenance=provenance), load_task(problem.task), settings)
        told = 0
        async for _ in self._driver.run(search, NoLog()):
            if self._drain.is_set():
                raise UnavailableError("this process is draining; search again, another answers")
            if search.tree.num_iterations > told:
                told = search.tree.num_iterations
                yield _progress(search, settings, with_tree=settings.stream_tree)
        yield _progress(search, settings, with_tree=True)


def _progress(search: TreeSearch, settings: SearchSettings, *, with_tree: bool) -> pb.SearchResponse:
    tree = search.tree
    return pb.SearchResponse(
        iteration=tree.num_iterations,
        num_iterations=settings.num_iterations,
        num_nodes=len(tree.nodes),
        num_correct=search.num_correct,
        cost=cost_to_proto(tree.provenance.cost),
        tree=tree_to_proto(tree) if with_tree else None,
    )
