"""A watched search tells its progress and ends with the tree."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from search_fakes import ScriptedPolicy, TaskVerifier, problems

from retrograde.core.policy import Generation, Prompt, Sampling
from retrograde.core.problem import Problem
from retrograde.runtime.errors import InvalidInputError, OverloadedError, UnavailableError
from retrograde.v1 import search_service_pb2 as pb
from retrograde.wire.convert import problem_to_proto, tree_from_proto
from services.search.driver import Driver
from services.search.servicer import SearchServicer

SMALL = '{"num_iterations": 5, "num_actions": 3, "num_rollouts": 2%s}'
NO_CONTEXT = cast("Any", None)


def servicer(
    policy: ScriptedPolicy | None = None, max_watched: int = 4, drain: asyncio.Event | None = None
) -> SearchServicer:
    return SearchServicer(Driver(policy or ScriptedPolicy(), TaskVerifier()), max_watched, drain or asyncio.Event())


async def watched(more: str = "", problem: Problem | None = None, seed: int = 1) -> list[pb.SearchResponse]:
    request = pb.SearchRequest(
        problem=problem_to_proto(problem or problems(1)[0]), settings_json=SMALL % more, seed=seed
    )
    return [response async for response in servicer().Search(request, NO_CONTEXT)]


async def test_progress_counts_up_to_the_tree() -> None:
    """Iterations never fall, only the last message carries a tree, and it is the tree of the figures told."""
    responses = await watched()
    iterations = [response.iteration for response in responses]
    assert iterations == sorted(iterations)
    assert [response.HasField("tree") for response in responses] == [False] * (len(responses) - 1) + [True]
    tree = tree_from_proto(responses[-1].tree)
    assert (tree.num_iterations, len(tree.nodes)) == (5, responses[-1].num_nodes)
    assert responses[-1].num_correct == sum(node.is_correct for node in tree.nodes)
    assert responses[-1].cost.generated_tokens > 0


async def test_progress_tells_the_rate_and_what_is_in_flight() -> None:
    """Tokens per second are the tokens over less time than the whole took; nothing is in flight at the end."""
    began = time.monotonic()
    responses = await watched(', "max_in_flight": 4, "evaluate": "children"')
    elapsed = time.monotonic() - began
    for response in responses:
        assert response.tokens_per_second >= response.cost.generated_tokens / elapsed > 0
    assert max(response.num_in_flight for response in responses) > 1
    assert responses[-1].num_in_flight == 0


async def test_tree_is_streamed_when_asked_for() -> None:
    """`stream_tree` puts a growing tree in every message."""
    sizes = [len(response.tree.nodes) for response in await watched(', "stream_tree": true')]
    assert sizes[0] > 1
    assert sizes == sorted(sizes)


async def test_progress_tells_the_time_left() -> None:
    """Something is left after each iteration but the last, and nothing once the search has ended."""
    responses = await watched()
    assert all(response.remaining_seconds > 0 for response in responses[:-2])
    assert responses[-1].remaining_seconds == 0.0


async def test_same_seed_gives_the_same_tree() -> None:
    """And another seed another one."""
    nodes = [tree_from_proto((await watched(seed=seed))[-1].tree).nodes for seed in (1, 1, 2)]
    assert nodes[0] == nodes[1] != nodes[2]


@pytest.mark.parametrize(
    ("more", "problem", "told"),
    [
        (', "num_actoins": 3', None, "settings_json.num_actoins"),
        (', "num_rollouts": -1', None, "settings_json.num_rollouts"),
        (", ", None, "settings_json: Invalid JSON"),
        ("", Problem("p", "nosuchtask", "?", ""), "task: 'nosuchtask'"),
        ("", Problem("p", "countdown", "What?", ""), "statement"),
    ],
)
async def test_bad_requests_name_the_field(more: str, problem: Problem | None, told: str) -> None:
    """What is wrong with settings or problem is said, as INVALID_ARGUMENT."""
    with pytest.raises(InvalidInputError, match=told):
        await watched(more, problem)


async def test_more_watchers_than_allowed_are_refused() -> None:
    """The second of one allowed is told to come later, and a free place is given again."""
    policy = ScriptedPolicy(blocks_at=0)
    service = servicer(policy, max_watched=1)
    request = pb.SearchRequest(problem=problem_to_proto(problems(1)[0]), settings_json=SMALL % "")
    first = asyncio.create_task(anext(service.Search(request, NO_CONTEXT)))
    await asyncio.sleep(0.01)
    with pytest.raises(OverloadedError):
        await anext(service.Search(request, NO_CONTEXT))
    policy.released.set()
    await first


async def test_drain_ends_a_watched_search() -> None:
    """A process that was told to stop answers UNAVAILABLE after the call in flight."""
    drain = asyncio.Event()
    drain.set()
    request = pb.SearchRequest(problem=problem_to_proto(problems(1)[0]), settings_json=SMALL % "")
    with pytest.raises(UnavailableError):
        await anext(servicer(drain=drain).Search(request, NO_CONTEXT))


class Swapped(ScriptedPolicy):
    """Serves newer weights from its second call on."""

    async def generate(
        self, prompt: Prompt, sampling: Sampling, *, key: str = "", policy_version: int = 0
    ) -> Generation:
        drawn = await super().generate(prompt, sampling, key=key, policy_version=policy_version)
        return replace(drawn, policy_version=3 + min(self.num_asked, 2))


async def test_a_search_whose_weights_change_may_be_asked_again() -> None:
    """The answer is UNAVAILABLE, as of any search that another try can have."""
    request = pb.SearchRequest(problem=problem_to_proto(problems(1)[0]), settings_json=SMALL % "")
    with pytest.raises(UnavailableError, match=r"begun under 4 and 5 answered.*search again"):
        [response async for response in servicer(Swapped()).Search(request, NO_CONTEXT)]
