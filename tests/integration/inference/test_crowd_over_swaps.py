"""Many concurrent requests across many weight swaps, and the same against a service that keeps its prefix cache.

CI asks some hundred; with RETROGRADE_SWAPS_FULL=1 it is 1,000 across 20 swaps. `pytest -s` shows the figures.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from retrograde.wire.clients import InferenceClient
from tests.integration.inference.crowd import Crowd, crowd
from tests.integration.inference.inference_process import running
from tests.integration.inference.reference import Reference

if TYPE_CHECKING:
    from tests.integration.inference.world import World

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

NUM_REQUESTS, NUM_SWAPS = (1000, 20) if os.environ.get("RETROGRADE_SWAPS_FULL") else (200, 6)


@pytest.fixture(scope="module")
def reference(world: World) -> Reference:
    return Reference(world.models)


def _figures(seen: Crowd, reference: Reference) -> dict[str, int]:
    spans = Counter(answer.policy_versions[1] - answer.policy_versions[0] for answer in seen.answers)
    figures = {
        "failed": len(seen.failures),
        "stale": sum(reference.is_stale(answer, seen.names) for answer in seen.answers),
        "answered": len(seen.answers),
        "versions": len({answer.policy_version for answer in seen.answers}),
        "ran_on_over_swaps": sum(spans.values()) - spans[0],
    }
    print(json.dumps(figures))  # noqa: T201 - the figures
    return figures


async def test_no_request_of_a_crowd_fails_or_is_stale(client: InferenceClient, reference: Reference) -> None:
    """Each of them is answered, token by token as the weights of its versions say, some over two versions or more."""
    seen = await crowd(client, NUM_REQUESTS, NUM_SWAPS)
    figures = _figures(seen, reference)
    assert seen.failures == []
    assert (figures["stale"], figures["answered"], len(seen.names)) == (0, NUM_REQUESTS, NUM_SWAPS + 1)
    assert figures["versions"] > 1
    assert figures["ran_on_over_swaps"] > 0


async def test_a_service_that_keeps_its_prefixes_is_found_out(world: World, reference: Reference) -> None:
    """Without the reset of the cache the same crowd gets stale answers, and the check says so."""
    folder = world.folder / "forgetful"
    folder.mkdir()
    settings = world.settings | {"model_name": "forgetful", "openai_port": 0}
    with running(folder, "tests.integration.inference.forgetful_service", **settings) as service:
        async with InferenceClient(service.address) as client:
            seen = await crowd(client, NUM_REQUESTS, NUM_SWAPS)
    figures = _figures(seen, reference)
    assert (figures["answered"], figures["stale"] > 0) == (NUM_REQUESTS, True)
