"""Walks and words for variants, from the same stored tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from rewriter_fakes import TREE_KEY, Run, ScriptedPolicy

from retrograde.core.solution import Move, MoveKind, Rewriter, SearchTrace
from retrograde.runtime.errors import InvalidInputError, NotFoundError
from retrograde.v1 import rewriter_service_pb2 as pb
from retrograde.wire.convert import trace_from_proto, trace_to_proto
from retrograde.wire.convert_solution import rewriter_to_proto, solution_from_proto

NO_CONTEXT = cast("Any", None)
NO_JUDGE = '"self_evaluation_samples": 0'


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.broker.close()


async def linearized(run: Run, settings: str, policy: ScriptedPolicy | None = None) -> pb.LinearizeResponse:
    request = pb.LinearizeRequest(tree_key=TREE_KEY, settings_json=settings)
    return await run.servicer(policy or ScriptedPolicy()).Linearize(request, NO_CONTEXT)


async def rewritten(
    run: Run, trace: SearchTrace, rewriter: Rewriter, settings: str = "", policy: ScriptedPolicy | None = None
) -> pb.RewriteResponse:
    request = pb.RewriteRequest(
        trace=trace_to_proto(trace), rewriter=rewriter_to_proto(rewriter), settings_json=settings
    )
    return await run.servicer(policy or ScriptedPolicy()).Rewrite(request, NO_CONTEXT)


async def one_search_trace(run: Run) -> SearchTrace:
    response = await linearized(run, f'{{{NO_JUDGE}, "num_wrong": [2], "direct": false}}')
    return trace_from_proto(response.traces[0])


async def test_variants_come_from_one_tree_without_a_model(run: Run) -> None:
    """Other k, other walks; with the filter off the policy is not asked."""
    policy = ScriptedPolicy()
    one = await linearized(run, f'{{{NO_JUDGE}, "num_wrong": [1]}}', policy)
    two = await linearized(run, f'{{{NO_JUDGE}, "num_wrong": [2, 5], "direct": false}}', policy)
    assert [len(trace.terminals) for trace in one.traces] == [1, 2]
    assert [len(trace.terminals) for trace in two.traces] == [3]
    assert dict(two.rejected) == {"too_few_wrong": 1}
    assert policy.asked == []


async def test_filter_asks_the_policy_once_for_all_variants(run: Run) -> None:
    """The second variant uses the judgements of the first."""
    policy = ScriptedPolicy()
    await linearized(run, '{"num_wrong": [1]}', policy)
    await linearized(run, '{"num_wrong": [2]}', policy)
    assert [sampling.n for _, sampling in policy.asked] == [8]


async def test_trace_is_told_by_template(run: Run) -> None:
    """The solution names its tree, and says no doubt when reflection is off."""
    trace = await one_search_trace(run)
    with_doubt = solution_from_proto((await rewritten(run, trace, Rewriter.TEMPLATE)).solution)
    without = solution_from_proto((await rewritten(run, trace, Rewriter.TEMPLATE, '{"reflection": false}')).solution)
    assert (with_doubt.trace, with_doubt.provenance.parent_keys) == (trace, (TREE_KEY,))
    assert "Hmm" in with_doubt.completion
    assert "Hmm" not in without.completion


async def test_refused_words_are_listed(run: Run) -> None:
    """A model that only says foreign numbers is replaced by the template, with the broken invariants in the answer."""
    trace = await one_search_trace(run)
    policy = ScriptedPolicy(lambda _prompt, _index: "It is 999.")
    response = await rewritten(run, trace, Rewriter.LLM, '{"max_attempts": 1}', policy)
    assert solution_from_proto(response.solution).rewriter is Rewriter.LLM_THEN_TEMPLATE
    assert "foreign_number" in response.violations


@pytest.mark.parametrize("moves", [[], [(MoveKind.STEP, 2), (MoveKind.STEP, 3)], [(MoveKind.STEP, 99)]])
async def test_trace_that_is_no_walk_is_refused(run: Run, moves: list[tuple[MoveKind, int]]) -> None:
    """A trace must lead from the root along the tree to a right end."""
    trace = SearchTrace(TREE_KEY, tuple(Move(kind, node) for kind, node in moves), (3,))
    with pytest.raises(InvalidInputError, match="trace: not_a_walk"):
        await rewritten(run, trace, Rewriter.TEMPLATE)


async def test_bad_requests_name_the_field(run: Run) -> None:
    """Unknown settings, no tree key, and a key where nothing lies."""
    with pytest.raises(InvalidInputError, match=r"settings_json\.num_worng"):
        await linearized(run, '{"num_worng": [1]}')
    with pytest.raises(InvalidInputError, match="tree_key: empty"):
        await rewritten(run, SearchTrace("", (), ()), Rewriter.TEMPLATE)
    with pytest.raises(NotFoundError):
        await rewritten(run, SearchTrace("runs/r/trees/none.pb", (), ()), Rewriter.TEMPLATE)
