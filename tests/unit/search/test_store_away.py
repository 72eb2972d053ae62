"""A store that is away or full holds a tree up; no reply is used before it is durable, lost, or asked again."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from search_fakes import RECIPE, MemoryStore, Run, ScriptedPolicy, TaskVerifier, delivered, problems

from retrograde.core.searches import make_search
from retrograde.core.tree import SearchTree
from retrograde.runtime.adapters import directory_store
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from retrograde.tasks.task import load_task
from services.search import metrics, patience
from services.search.driver import Driver
from services.search.patience import until_available
from services.search.tree_log import TreeLog
from services.search.worker import TREES_TOPIC


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_SECONDS", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("width", [1, 4])
async def test_no_reply_is_used_while_the_store_is_away(width: int) -> None:
    """Answers wait, nothing is asked twice, and the tree goes on with them as if the store had always been there."""
    (problem,) = problems(1)
    settings = RECIPE.search.model_copy(update={"max_in_flight": width})
    store, policy = MemoryStore(), ScriptedPolicy(blocks_at=2)
    search = make_search(SearchTree(problem), load_task("countdown"), settings)

    async def run() -> None:
        async for _ in Driver(policy, TaskVerifier()).run(search, TreeLog(store, "log/")):
            pass

    task = asyncio.create_task(run())
    await until(lambda: policy.num_asked == 2 + width)
    fed = search.spent.num_calls
    store.fault = UnavailableError("away")
    policy.released.set()
    calls = store.num_calls
    await until(lambda: store.num_calls > calls + 3)
    assert search.spent.num_calls == fed
    assert len(policy.seeds) == 2 + width
    store.fault = None
    await task
    assert len(policy.seeds) == len(set(policy.seeds)) == search.spent.num_calls > fed
    assert search.tree.num_iterations == settings.num_iterations


async def test_full_disk_pauses_a_tree_and_its_storing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the directory store, at whichever put: the tree is stored and published once there is room."""
    run = Run(tmp_path)
    run.broker.create_topic(TREES_TOPIC, 4)
    (problem,) = problems(1)
    write, faults = directory_store._write, [0]

    def full_every_other_time(path: Path, data: bytes) -> None:
        faults[0] += 1
        if faults[0] % 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(directory_store, "_write", full_every_other_time)
    waits = metrics.STORE_WAITS._value.get()
    await run.worker(policy := ScriptedPolicy()).handle(delivered(problem), drain=asyncio.Event())
    assert metrics.STORE_WAITS._value.get() - waits == faults[0] / 2 > len(policy.seeds)
    assert len(policy.seeds) == len(set(policy.seeds))
    assert run.tree(problem).num_iterations == 6
    assert len(run.read(TREES_TOPIC)) == 1
    run.broker.close()


async def test_waiting_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten failures in a row are one line, the end of them another."""
    said: list[str] = []
    monkeypatch.setattr(patience._log, "warning", lambda event, **_: said.append(event))
    monkeypatch.setattr(patience._log, "info", lambda event, **_: said.append(event))
    left = [10]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise UnavailableError("away")
        return "stored"

    assert await until_available(call, "key") == "stored"
    assert said == ["waiting for the store", "the store is back"]


async def test_error_that_waiting_does_not_cure_is_raised() -> None:
    """A key that the store refuses is refused at once."""

    def call() -> None:
        raise InvalidInputError("key")

    with pytest.raises(InvalidInputError):
        await until_available(call, "key")
