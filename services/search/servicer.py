"""The Search RPC: from message, search, to messages."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from pydantic import Field

import retrograde
from retrograde.core.problem import Provenance
from retrograde.core.search import Search, SearchError
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import InvalidInputError, OtherPolicyError, OverloadedError, UnavailableError
from retrograde.tasks.task import TaskError, load_task
from retrograde.v1 import search_service_pb2 as pb
from retrograde.v1.search_service_pb2_grpc import SearchServiceServicer
from retrograde.wire.convert import cost_to_proto, problem_from_proto, tree_to_proto
from retrograde.wire.recipes import parse_settings
from services.search.driver import INTERACTIVE, Driver, NoLog

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
        except OtherPolicyError as error:
            raise UnavailableError(f"the policy's weights changed under this search ({error}); search again") from error
        finally:
            self._num_watched -= 1

    async def _search(self, request: pb.SearchRequest, settings: WatchedSearch) -> AsyncIterator[pb.SearchResponse]:
        problem = problem_from_proto(request.problem)
        provenance = Provenance(code_version=retrograde.__version__, seed=request.seed)
        search = make_search(SearchTree(problem, provenance=provenance), load_task(problem.task), settings)
        told, began = 0, time.monotonic()
        run = self._driver.run(search, NoLog(), settings.feed_order, self._drain, priority=INTERACTIVE)
        async with contextlib.aclosing(run) as records:
            async for _ in records:
                if self._drain.is_set():
                    break
                if search.tree.num_iterations > told:
                    told = search.tree.num_iterations
                    yield _progress(search, settings, began, with_tree=settings.stream_tree)
        if not search.done:
            raise UnavailableError("this process is draining; search again, another answers")
        yield _progress(search, settings, began, with_tree=True)


def _progress(search: Search, settings: SearchSettings, began: float, *, with_tree: bool) -> pb.SearchResponse:
    """`began` is the search's begin on the monotonic clock, in seconds."""
    tree = search.tree
    elapsed = max(time.monotonic() - began, 1e-9)
    return pb.SearchResponse(
        iteration=tree.num_iterations,
        num_iterations=settings.num_iterations,
        num_nodes=len(tree.nodes),
        num_correct=search.num_correct,
        cost=cost_to_proto(tree.provenance.cost),
        tokens_per_second=tree.provenance.cost.generated_tokens / elapsed,
        num_in_flight=len(search.in_flight),
        remaining_seconds=_remaining_seconds(search, settings, elapsed),
        tree=tree_to_proto(tree) if with_tree else None,
    )


def _remaining_seconds(search: Search, settings: SearchSettings, elapsed: float) -> float:
    """Until the last iteration at the rate so far; 0 once done, or while there is none."""
    num_iterations = search.tree.num_iterations
    return elapsed * (settings.num_iterations / num_iterations - 1) if num_iterations and not search.done else 0.0
