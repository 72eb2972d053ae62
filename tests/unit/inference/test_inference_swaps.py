from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import pytest

from retrograde.core.policy import Generation, InFlight
from retrograde.runtime.errors import ConflictError, InvalidInputError, StalePolicyError, UnavailableError
from services.inference.swaps import Current, Swaps
from services.inference.weights import Served, folder_of, in_folder
from tests.unit.inference.fakes_inference import write_checkpoint
from tests.unit.inference.swap_world import ASK, CHECKPOINTS, World

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

T = TypeVar("T")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("in_flight", InFlight)
async def test_requests_during_swaps_never_fail_nor_lie(world: World, in_flight: InFlight) -> None:
    """With requests in flight all the time, every answer of ten swaps comes from the weights of its versions."""
    names = {1: "first"}
    answers: list[Generation] = []

    async def ask_on_and_on(until: asyncio.Event) -> None:
        while not until.is_set():
            answers.append(await world.server.generate(ASK))

    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask_on_and_on(done))
        for number in range(10):
            key = CHECKPOINTS[number % 3]
            swap = await world.server.swaps.load_weights(key, in_flight=in_flight)
            names[swap.policy_version] = world.name_of(key)
            assert swap.gap_seconds >= swap.stopped_seconds > 0
        done.set()
    assert sorted(names) == list(range(1, 12))
    assert all(_weights(answer) == {names[version] for version in set(answer.policy_versions)} for answer in answers)
    assert len({answer.policy_version for answer in answers}) > 1
    if in_flight is not InFlight.CONTINUE:
        assert all(len(set(answer.policy_versions)) == 1 for answer in answers)


def _weights(answer: Generation) -> set[str]:
    """Those the answer was drawn under."""
    return set(answer.completions[0].text.split(">"))


async def _begun(world: World, call: Coroutine[object, object, T]) -> asyncio.Task[T]:
    """A call that the engine works on, and will until it `may_answer`."""
    world.engine.may_answer.clear()
    task = asyncio.create_task(call)
    async with asyncio.timeout(30):
        while not world.engine.running:
            await asyncio.sleep(0)
    return task


async def _swapped(world: World, in_flight: InFlight) -> None:
    """After a swap; running requests may answer before it if they are to finish, else after it."""
    swap = asyncio.create_task(world.server.swaps.load_weights("one", in_flight=in_flight))
    if in_flight is InFlight.FINISH:
        world.engine.may_answer.set()
    await swap
    world.engine.may_answer.set()


@pytest.mark.parametrize(
    ("in_flight", "versions"),
    [(InFlight.FINISH, (1, 1)), (InFlight.CONTINUE, (1, 2)), (InFlight.BEGIN_AGAIN, (2, 2))],
)
async def test_a_running_request_is_dealt_with_as_asked(
    world: World, in_flight: InFlight, versions: tuple[int, int]
) -> None:
    """It ends under the old version, spans both and says so, or is begun again under the new one."""
    task = await _begun(world, world.server.generate(ASK))
    await _swapped(world, in_flight)
    assert (await task).policy_versions == versions


async def test_a_request_for_one_version_never_spans_two(world: World) -> None:
    """Pinned to a version, it does not go on under the next one: it is told so."""
    task = await _begun(world, world.server.generate(replace(ASK, policy_version=1)))
    await _swapped(world, InFlight.CONTINUE)
    with pytest.raises(StalePolicyError, match=r"^policy_version: 1 was asked for and 2 is served"):
        await task


async def test_scores_are_of_one_version(world: World) -> None:
    """A score under way at a swap over which requests continue is made anew."""
    task = await _begun(world, world.server.score("ab", ["b"]))
    await _swapped(world, InFlight.CONTINUE)
    assert (await task).policy_version == 2


async def test_a_caller_that_leaves_does_not_stop_its_swap(world: World) -> None:
    """Cancelled in the midst of loading, LoadWeights is carried through: new weights, new version."""
    world.engine.may_load.clear()
    task = asyncio.create_task(world.server.swaps.load_weights("one"))
    await world.engine.loading.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    world.engine.may_load.set()
    answer = await world.server.generate(ASK)
    assert (answer.policy_versions, answer.completions[0].text) == ((2, 2), world.name_of("one"))


async def test_asking_again_for_what_is_served_does_nothing(world: World) -> None:
    """A repeated LoadWeights answers the same version, loads nothing and lets nobody wait."""
    assert (await world.server.swaps.load_weights("one", 7)).policy_version == 7
    for version in (7, 0):
        swap = await world.server.swaps.load_weights("one", version)
        assert (swap.policy_version, swap.gap_seconds) == (7, 0.0)
    assert len(world.engine.loads) == 1


async def test_older_weights_come_back_under_a_new_version(world: World) -> None:
    """Rolling back is loading the older checkpoint: its weights answer, under a version that nothing had before."""
    for key in ("one", "two", "one"):
        await world.server.swaps.load_weights(key)
    answer = await world.server.generate(ASK)
    assert (answer.policy_versions, answer.completions[0].text) == ((4, 4), world.name_of("one"))


async def test_new_content_under_a_served_key_is_loaded(world: World, tmp_path: Path) -> None:
    """A key whose checkpoint was replaced is not taken for the one served."""
    await world.server.swaps.load_weights("one")
    world.store.upload("one", write_checkpoint(tmp_path / "again", 42.0))
    assert (await world.server.swaps.load_weights("one")).policy_version == 3


@pytest.mark.parametrize("version", [3, 5])
async def test_versions_only_rise(world: World, version: int) -> None:
    """A version that is not newer than the served one is a conflict, and what is served stays."""
    await world.server.swaps.load_weights("one", 5)
    with pytest.raises(ConflictError, match=r"^policy_version: "):
        await world.server.swaps.load_weights("two", version)
    assert world.server.swaps.served == Served("one", 5, world.name_of("one"))


@pytest.mark.parametrize("key", ["", "none", "odd"])
async def test_a_bad_checkpoint_changes_nothing(world: World, key: str) -> None:
    """An empty or unknown key and a checkpoint of another model are refused before anyone waits."""
    with pytest.raises(InvalidInputError, match=r"^checkpoint"):
        await world.server.swaps.load_weights(key)
    assert (world.engine.loads, world.server.policy_version, world.checkpoints.last()) == ([], 1, None)


@pytest.mark.parametrize("in_flight", InFlight)
async def test_a_failed_load_goes_back_to_the_old_weights(world: World, in_flight: InFlight) -> None:
    """When the engine cannot load, the old weights are loaded again and served under the old version."""
    await world.server.swaps.load_weights("one")
    world.engine.broken.add(folder_of(world.checkpoints.prepare("two")))
    with pytest.raises(OSError, match="disk on fire"):
        await world.server.swaps.load_weights("two", in_flight=in_flight)
    answer = await world.server.generate(ASK)
    assert (answer.policy_versions, answer.completions[0].text) == ((2, 2), world.name_of("one"))
    assert world.checkpoints.last() == Served("one", 2, world.name_of("one"))


async def test_a_first_load_that_fails_is_as_if_it_had_not_been(world: World) -> None:
    """Nothing is remembered of it: a restart serves the settings' checkpoint again, and finds its cache."""
    fetched = folder_of(world.checkpoints.prepare("one"))
    world.engine.broken.add(fetched)
    with pytest.raises(OSError, match="disk on fire"):
        await world.server.swaps.load_weights("one")
    assert world.checkpoints.last() is None
    assert (await world.restarted().generate(ASK)).completions[0].text == "first"
    assert fetched.is_dir()


async def test_a_replica_that_fails_does_not_undo_what_another_published(world: World) -> None:
    """One replica has swapped; another, on the same store, goes back: a restart serves what the first one did."""
    await world.restarted().swaps.load_weights("one")
    world.engine.broken.add(folder_of(world.checkpoints.prepare("two")))
    with pytest.raises(OSError, match="disk on fire"):
        await world.server.swaps.load_weights("two")
    assert world.checkpoints.last() == Served("one", 2, world.name_of("one"))


class LostStore:
    """A record that cannot be kept any more, after `num_kept` times."""

    def __init__(self, num_kept: int) -> None:
        self._num_left = num_kept

    def publish(self, served: Served) -> None:
        if not self._num_left:
            raise UnavailableError(f"store: it is away; {served} was not kept")
        self._num_left -= 1


def _swaps_without_store(world: World, num_kept: int) -> Swaps:
    first = Current(Served("first", 1), in_folder(world.first))
    return Swaps(world.engine, world.checkpoints, LostStore(num_kept), first, InFlight.FINISH)


async def test_weights_that_cannot_be_published_are_not_served(world: World) -> None:
    """A restart would not know them: the old ones are loaded again, and go on answering."""
    swaps = _swaps_without_store(world, 0)
    with pytest.raises(UnavailableError, match=r"^store: "):
        await swaps.load_weights("one")
    assert [each.name for each in world.engine.loads] == [world.name_of("one"), "first"]
    assert (swaps.served, world.engine.loaded, world.engine.given_up) == (Served("first", 1), world.first, "")


async def test_going_back_needs_no_store(world: World) -> None:
    """The old weights, loaded again, are served though the store has gone away meanwhile."""
    world.engine.broken.add(folder_of(world.checkpoints.prepare("one")))
    with pytest.raises(OSError, match="disk on fire"):
        await _swaps_without_store(world, 1).load_weights("one")
    assert (world.engine.loaded, world.engine.given_up) == (world.first, "")


async def test_an_engine_without_weights_is_given_up(world: World) -> None:
    """When neither new nor old weights can be loaded it is told to answer nothing any more; a restart tries the old."""
    await world.server.swaps.load_weights("one")
    world.engine.broken |= {folder_of(world.checkpoints.prepare(key)) for key in ("one", "two")}
    with pytest.raises(OSError, match="disk on fire"):
        await world.server.swaps.load_weights("two")
    assert world.engine.given_up == "new weights could not be loaded, and the old ones not again"
    assert world.checkpoints.last() == Served("one", 2, world.name_of("one"))


async def test_a_restart_serves_what_was_served(world: World) -> None:
    """A new process starts with the last checkpoint and its version, even when the store has lost the checkpoint."""
    await world.server.swaps.load_weights("one")
    await world.server.swaps.load_weights("two")
    expected = world.name_of("two")
    world.store.delete("two/MANIFEST.json")
    answer = await world.restarted().generate(ASK)
    assert (answer.policy_version, answer.completions[0].text) == (3, expected)


async def test_a_restart_never_serves_other_weights_under_an_old_version(world: World, tmp_path: Path) -> None:
    """With the cache lost and the key's content replaced, the new content is served under a version of its own."""
    await world.server.swaps.load_weights("one")
    shutil.rmtree(world.cache)
    world.store.upload("one", write_checkpoint(tmp_path / "again", 42.0))
    answer = await world.restarted().generate(ASK)
    assert (answer.policy_version, answer.completions[0].text) == (3, world.name_of("one"))
    assert world.checkpoints.last() == Served("one", 3, world.name_of("one"))


async def test_a_first_start_serves_the_checkpoint_of_the_settings(world: World) -> None:
    """With nothing published the settings' checkpoint is version 1."""
    assert world.server.swaps.served == Served(str(world.first), 1)
