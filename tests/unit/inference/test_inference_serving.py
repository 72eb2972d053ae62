from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from retrograde.core.policy import Prompt, Sampling
from retrograde.runtime.adapters import open_store
from retrograde.runtime.errors import ConflictError, InvalidInputError, OverloadedError, StalePolicyError
from services.inference.serving import Ask, Limits, Load, PolicyServer, starting_point
from services.inference.weights import Checkpoints, Served
from tests.unit.inference.fakes_inference import VOCABULARY, FakeEngine, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from retrograde.runtime.objects import ObjectStore

ASK = Ask(Prompt("aab"), Sampling(max_tokens=4))
CHECKPOINTS = ("one", "two", "three")


class World:
    """A policy server over a fake engine, with three checkpoints in a store."""

    def __init__(self, tmp_path: Path) -> None:
        self.first = write_checkpoint(tmp_path / "first")
        self.store: ObjectStore = open_store(f"file://{tmp_path / 'store'}")
        for index, name in enumerate(CHECKPOINTS, start=1):
            self.store.upload(name, write_checkpoint(tmp_path / name, index))
        self.store.upload("odd", write_checkpoint(tmp_path / "odd", shape=(9, 9)))
        self.checkpoints = Checkpoints(self.store, "policy", tmp_path / "cache", keep=9, keep_bytes=1 << 30)
        self.engine = FakeEngine(self.first)
        self.server = self.restarted()

    def restarted(self) -> PolicyServer:
        served, folder = starting_point(self.checkpoints, self.first)
        self.engine.loaded = folder
        return PolicyServer(
            self.engine, self.checkpoints, Limits(max_n=8, max_pending_sequences=16, max_num_seqs=10), served, folder
        )

    def name_of(self, key: str) -> str:
        return self.checkpoints.digest(key)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_an_answer_carries_the_version_it_was_made_under(world: World) -> None:
    """The version is 1 at first, and the next one after a swap."""
    before = await world.server.generate(ASK)
    version, _ = await world.server.load_weights("one", 0)
    after = await world.server.generate(ASK)
    assert (before.policy_version, version, after.policy_version) == (1, 2, 2)
    assert after.completions[0].text == world.name_of("one")


async def test_requests_during_swaps_never_fail_nor_mix(world: World) -> None:
    """With requests in flight all the time, every answer of ten swaps comes from the weights of its version."""
    served = {1: "first"}
    answers = []

    async def ask_on_and_on(until: asyncio.Event) -> None:
        while not until.is_set():
            answers.append(await world.server.generate(ASK))

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask_on_and_on(done))
        for swap in range(10):
            key = CHECKPOINTS[swap % 3]
            version, gap = await world.server.load_weights(key, 0)
            served[version] = world.name_of(key)
            assert gap > 0
        done.set()
    assert sorted(served) == list(range(1, 12))
    assert {(answer.policy_version, answer.completions[0].text) for answer in answers} <= set(served.items())
    assert len({answer.policy_version for answer in answers}) > 1


async def test_asking_again_for_what_is_served_does_nothing(world: World) -> None:
    """A repeated LoadWeights answers the same version, loads nothing and lets nobody wait."""
    assert (await world.server.load_weights("one", 7))[0] == 7
    assert await world.server.load_weights("one", 7) == (7, 0.0)
    assert await world.server.load_weights("one", 0) == (7, 0.0)
    assert len(world.engine.loads) == 1


async def test_new_content_under_a_served_key_is_loaded(world: World, tmp_path: Path) -> None:
    """A key whose checkpoint was replaced is not taken for the one served."""
    await world.server.load_weights("one", 0)
    world.store.upload("one", write_checkpoint(tmp_path / "again", 42.0))
    assert (await world.server.load_weights("one", 0))[0] == 3


@pytest.mark.parametrize("version", [3, 5])
async def test_versions_only_rise(world: World, version: int) -> None:
    """A version that is not newer than the served one is a conflict, and what is served stays."""
    await world.server.load_weights("one", 5)
    with pytest.raises(ConflictError, match=r"^policy_version: "):
        await world.server.load_weights("two", version)
    assert world.server.served == Served("one", 5, world.name_of("one"))


@pytest.mark.parametrize("key", ["", "none", "odd"])
async def test_a_bad_checkpoint_changes_nothing(world: World, key: str) -> None:
    """An empty or unknown key and a checkpoint of another model are refused before anyone waits."""
    with pytest.raises(InvalidInputError, match=r"^checkpoint"):
        await world.server.load_weights(key, 0)
    assert (world.engine.loads, world.server.served.policy_version) == ([], 1)


async def test_a_failed_load_goes_back_to_the_old_weights(world: World) -> None:
    """When the engine cannot load, the old weights are loaded again and served under the old version."""
    await world.server.load_weights("one", 0)
    world.engine.broken.add(world.checkpoints.fetch("two")[0])
    with pytest.raises(OSError, match="disk on fire"):
        await world.server.load_weights("two", 0)
    answer = await world.server.generate(ASK)
    assert (answer.policy_version, answer.completions[0].text) == (2, world.name_of("one"))
    assert world.checkpoints.last() == Served("one", 2, world.name_of("one"))


async def test_a_restart_serves_what_was_served(world: World) -> None:
    """A new process starts with the last checkpoint and its version, even when the store has lost the checkpoint."""
    await world.server.load_weights("one", 0)
    await world.server.load_weights("two", 0)
    world.store.delete("two/MANIFEST.json")
    answer = await world.restarted().generate(ASK)
    assert (answer.policy_version, answer.completions[0].text) == (3, world.checkpoints.last().digest)  # type: ignore[union-attr]


async def test_a_first_start_serves_the_checkpoint_of_the_settings(world: World) -> None:
    """With nothing published the settings' checkpoint is version 1."""
    assert world.server.served == Served(str(world.first), 1)


async def test_a_policy_that_is_too_old_is_refused(world: World) -> None:
    """min_policy_version above the served version raises StalePolicyError."""
    with pytest.raises(StalePolicyError, match=r"^min_policy_version: 2 "):
        await world.server.generate(replace(ASK, min_policy_version=2))


@pytest.mark.parametrize("version", [1, 3])
async def test_a_policy_other_than_the_one_asked_for_is_refused(world: World, version: int) -> None:
    """policy_version below or above the served version raises StalePolicyError; the served one is answered."""
    await world.server.load_weights("one", 2)
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
