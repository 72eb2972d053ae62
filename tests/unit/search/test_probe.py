"""The probe of `helm test` asks a search service for one tree, and waits for one that is still starting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from search_fakes import ScriptedPolicy, TaskVerifier

from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.settings import SearchSettings
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.runtime.interceptors import CallsInFlight, ServerInterceptor
from retrograde.v1 import search_service_pb2 as pb
from retrograde.v1.search_service_pb2_grpc import add_SearchServiceServicer_to_server
from services.search.driver import Driver
from services.search.probe import ProbeSettings, probe
from services.search.servicer import SearchServicer

SMALL = SearchSettings(num_iterations=3, num_actions=3, num_rollouts=2)


def asking(
    address: str, statement: str = "Numbers: 3 7 7, target: 28.", deadline_seconds: float = 60.0
) -> ProbeSettings:
    return ProbeSettings(
        address=address, statement=statement, gold="28", search=SMALL, deadline_seconds=deadline_seconds
    )


class Unwell(TaskVerifier):
    """Gives no verdict while it is not well."""

    is_well = True

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        grades = await super().verify(items)
        return grades if self.is_well else [Grade(Verdict.ERROR) for _ in grades]


class Starting(SearchServicer):
    """Answers UNAVAILABLE `num_refusals` times, then searches; its verifier is well from the second search on."""

    num_refusals = 0
    num_searches = 0

    def __init__(self, verifier: Unwell) -> None:
        super().__init__(Driver(ScriptedPolicy(), verifier), 4, asyncio.Event())
        self.verifier = verifier

    async def Search(self, request: pb.SearchRequest, context: Any) -> AsyncIterator[pb.SearchResponse]:
        if self.num_refusals:
            self.num_refusals -= 1
            raise UnavailableError("still starting")
        self.num_searches += 1
        self.verifier.is_well = self.verifier.is_well or self.num_searches > 1
        async for response in super().Search(request, context):
            yield response


@pytest.fixture
def servicer() -> Starting:
    return Starting(Unwell())


@pytest.fixture
async def address(servicer: Starting) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=(ServerInterceptor(CallsInFlight()),))
    add_SearchServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_a_tree_comes_back_with_graded_ends(address: str) -> None:
    """It is the tree of the problem, and some of its nodes are ends."""
    tree = await probe(asking(address))
    assert (tree.problem.statement, tree.num_iterations) == ("Numbers: 3 7 7, target: 28.", 3)
    assert any(node.is_terminal for node in tree.nodes)


async def test_a_service_that_is_away_is_asked_again(address: str, servicer: Starting) -> None:
    """One that comes in time gives its tree."""
    servicer.num_refusals = 1
    assert (await probe(asking(address))).num_iterations == 3
    assert servicer.num_refusals == 0


async def test_a_tree_that_nobody_graded_does_not_count(address: str, servicer: Starting) -> None:
    """While the verifier gives no verdict the probe asks again; the tree it takes has none without."""
    servicer.verifier.is_well = False
    tree = await probe(asking(address))
    assert servicer.num_searches == 2
    assert Verdict.ERROR not in {node.grade.verdict for node in tree.nodes if node.grade}


async def test_a_service_that_stays_away_is_told(address: str, servicer: Starting) -> None:
    """After the deadline the error names it."""
    servicer.num_refusals = 1_000_000
    with pytest.raises(UnavailableError, match=f"no tree from {address} in 0.2 s"):
        await probe(asking(address, deadline_seconds=0.2))


async def test_a_problem_that_is_none_is_not_asked_again(address: str) -> None:
    """The service's refusal is the probe's."""
    with pytest.raises(InvalidInputError, match="problem"):
        await probe(asking(address, statement="no numbers at all"))
