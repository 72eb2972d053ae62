"""The simulated loop: time without waiting, turns in a drawn order, processes that stop as a machine stops them."""

from __future__ import annotations

import asyncio
import random

from tests.simulation.weather import CALM
from tests.simulation.world import Incarnation, World


def world(seed: int = 0) -> World:
    return World(random.Random(seed), CALM)


def test_a_sleep_takes_simulated_time_only() -> None:
    """A day passes in one jump."""
    stage, woke_at = world(), []

    async def main(_: Incarnation) -> None:
        await asyncio.sleep(86400)
        woke_at.append(stage.loop.time())

    with stage.loop.running():
        stage.begin("sleeper", main)
        while stage.step():
            pass
    assert woke_at == [86400.0]


def test_ready_turns_are_taken_in_an_order_drawn_from_the_seed() -> None:
    """Two seeds differ; one seed does not."""

    def order(seed: int) -> list[int]:
        stage, taken = world(seed), []
        with stage.loop.running():
            for number in range(20):
                stage.loop.call_soon(taken.append, number)
            while stage.step():
                pass
        return taken

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(20))


def test_a_killed_process_runs_nothing_more() -> None:
    """Neither what follows an await nor its `finally`; another life begins."""
    stage, told = world(), []

    async def main(life: Incarnation) -> None:
        told.append(f"begun {life.number}")
        try:
            await asyncio.sleep(1.0)
        finally:
            told.append(f"ended {life.number}")

    with stage.loop.running():
        stage.begin("victim", main)
        while not told:
            stage.step()
        stage.kill(stage.processes["victim"])
        while stage.step():
            pass
        assert told == ["begun 0", "begun 1", "ended 1"]


def test_a_stalled_process_goes_on_when_it_wakes() -> None:
    """Its timers run out meanwhile, and take effect afterwards."""
    stage, went_on_at = world(), []

    async def main(_: Incarnation) -> None:
        await asyncio.sleep(0.1)
        went_on_at.append(stage.loop.time())

    with stage.loop.running():
        stage.begin("sleeper", main)
        stage.step()  # it begins to sleep
        stage.stall(stage.processes["sleeper"])
        while stage.step():
            pass
    awake = next(event.at for event in stage.history if event.what == "awake")
    assert went_on_at == [awake]
    assert awake > 0.1
