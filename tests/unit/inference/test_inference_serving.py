from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime.errors import InvalidInputError, OverloadedError, StalePolicyError
from services.inference.serving import Ask, Load
from tests.unit.inference.fakes_inference import VOCABULARY
from tests.unit.inference.swap_world import ASK, World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_an_answer_carries_the_version_it_was_made_under(world: World) -> None:
    """The version is 1 at first, and the next one after a swap."""
    before = await world.server.generate(ASK)
    swap = await world.server.swaps.load_weights("one")
    after = await world.server.generate(ASK)
    assert (before.policy_versions, swap.policy_version, after.policy_versions) == ((1, 1), 2, (2, 2))
    assert after.completions[0].text == world.name_of("one")


async def test_a_policy_that_is_too_old_is_refused(world: World) -> None:
    """min_policy_version above the served version raises StalePolicyError."""
    with pytest.raises(StalePolicyError, match=r"^min_policy_version: 2 "):
        await world.server.generate(replace(ASK, min_policy_version=2))


@pytest.mark.parametrize("version", [1, 3])
async def test_a_policy_other_than_the_one_asked_for_is_refused(world: World, version: int) -> None:
    """policy_version below or above the served version raises StalePolicyError; the served one is answered."""
    await world.server.swaps.load_weights("one", 2)
    with pytest.raises(StalePolicyError, match=rf"^policy_version: {version} was asked for and 2 is served"):
        await world.server.generate(replace(ASK, policy_version=version))
    assert (await world.server.generate(replace(ASK, policy_version=2))).policy_version == 2


async def test_the_load_counts_sequences_in_the_engine_and_beyond_it(world: World) -> None:
    """Of 13 sequences asked for, 10 fit an engine step and 3 wait; when all are answered none is counted."""
    asks = [replace(ASK, sampling=Sampling(n=n, max_tokens=4)) for n in (5, 8)]
    tasks = [asyncio.create_task(world.server.generate(ask)) for ask in asks]
    await asyncio.sleep(0)
    assert world.server.load == Load(10, 10, 3, 0, 0)
    await asyncio.gather(*tasks)
    assert world.server.load == Load(10, 0, 0, 0, 0)


async def test_sequences_held_during_a_swap_wait(world: World) -> None:
    """While the gate is closed nothing runs and what is asked waits."""
    async with world.server.gate.closed():
        task = asyncio.create_task(world.server.generate(ASK))
        await asyncio.sleep(0)
        assert world.server.load == Load(10, 0, 1, 0, 0)
    await task


async def test_the_load_tells_prompt_tokens_computed_and_cached(world: World) -> None:
    """Both counts are those of the engine's tally."""
    world.engine.prompts.num_prefilled_tokens, world.engine.prompts.num_cached_tokens = 7, 9
    assert world.server.load == Load(10, 0, 0, 7, 9)


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (replace(ASK, sampling=Sampling(n=9, max_tokens=4)), "sampling.n"),
        (replace(ASK, sampling=Sampling(max_tokens=17)), "sampling.max_tokens"),
        (replace(ASK, sampling=Sampling(max_tokens=4, top_p=1.5)), "sampling.top_p"),
        (replace(ASK, sampling=Sampling(max_tokens=4, stop=("",))), "sampling.stop"),
        (replace(ASK, prompt=()), "prompt"),
        (replace(ASK, prompt=Prompt("a" * 15)), "prompt"),
        (replace(ASK, prompt=(1, len(VOCABULARY))), "prompt"),
        (replace(ASK, prompt=(-1,)), "prompt"),
    ],
)
async def test_a_bad_request_names_its_field(world: World, ask: Ask, field: str) -> None:
    """What the engine could not do is refused before it starts, by the name of the field."""
    with pytest.raises(InvalidInputError, match=f"^{field}: "):
        await world.server.generate(ask)


async def test_a_full_queue_refuses_and_recovers(world: World) -> None:
    """Beyond the bound requests are refused as overload; when the others are done there is room again."""
    wide = replace(ASK, sampling=Sampling(n=8, max_tokens=4))
    results = await asyncio.gather(*(world.server.generate(wide) for _ in range(3)), return_exceptions=True)
    assert [type(each).__name__ for each in results] == ["Generation", "Generation", "OverloadedError"]
    assert len((await world.server.generate(wide)).completions) == 8
    with pytest.raises(OverloadedError, match="pending"):
        await asyncio.gather(*(world.server.generate(wide) for _ in range(3)))


async def test_scores_are_one_per_continuation(world: World) -> None:
    """Each continuation is scored after the same prompt (with its special token), with its number of tokens."""
    scores = await world.server.score("ab", ["b", "ba"])
    assert (scores.logprobs, scores.num_tokens, scores.policy_version) == ((-13.0, -23.0), (1, 2), 1)


async def test_a_continuation_that_is_too_long_is_named(world: World) -> None:
    """The refusal says which continuation passes the model's length."""
    with pytest.raises(InvalidInputError, match=r"^continuations\[1\]: "):
        await world.server.score("a", ["b", "b" * 20])
