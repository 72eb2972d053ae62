"""Many concurrent requests across many weight swaps, and the same against a service that keeps its prefix cache.

CI asks some hundred; with RETROGRADE_SWAPS_FULL=1 it is 1,000 across 20 swaps. `pytest -s` shows the figures.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrograde.wire.clients import InferenceClient
from tests.integration.inference.crowd import Crowd, crowd
from tests.integration.inference.inference_process import Service, running
from tests.integration.inference.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.inference.world import World

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

NUM_REQUESTS, NUM_SWAPS = (1000, 20) if os.environ.get("RETROGRADE_SWAPS_FULL") else (200, 6)

DEATH_SECONDS = 60


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


@pytest.fixture(scope="module")
def forgetful(world: World) -> Iterator[Service]:
    """The service with the bug."""
    folder = world.folder / "forgetful"
    folder.mkdir()
    settings = world.settings | {"model_name": "forgetful", "openai_port": 0}
    with running(folder, "tests.integration.inference.forgetful_service", **settings) as service:
        yield service


async def test_a_service_that_keeps_its_prefixes_is_found_out(forgetful: Service, reference: Reference) -> None:
    """Without the reset of the cache the same crowd gets stale answers, and the check says so."""
    async with InferenceClient(forgetful.address) as client:
        seen = await crowd(client, NUM_REQUESTS, NUM_SWAPS)
    figures = _figures(seen, reference)
    assert (figures["answered"], figures["stale"] > 0) == (NUM_REQUESTS, True)


def test_a_killed_service_takes_its_engine_along(forgetful: Service) -> None:
    """After kill -9 of the service the engine's process is gone too; last, for it ends the service."""
    children = forgetful.children()
    forgetful.end(signal.SIGKILL)
    deadline = time.monotonic() + DEATH_SECONDS
    while alive := [each for each in children if _is_alive(each)]:
        assert time.monotonic() < deadline, f"processes {alive} outlived their service"
        time.sleep(0.1)


def _is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
