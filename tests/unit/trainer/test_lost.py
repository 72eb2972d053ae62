"""A run finishes although the broker forgot it, and nobody's message is taken for lost that is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retrograde.core.settings import LinearizeSettings, RewriteSettings
from retrograde.runtime import dead_letters
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.dead_letters import dead_letter_headers, open_letters
from retrograde.runtime.reading import everything
from retrograde.wire.topics import PROBLEMS_TOPIC, SEARCH_GROUP, SOLUTIONS_TOPIC, TREES_TOPIC
from services.rewriter.judge import Judge
from services.rewriter.pipeline import Pipeline
from services.rewriter.settings import RewriterSettings
from services.rewriter.teller import Teller
from services.rewriter.worker import RewriterWorker
from services.search.driver import Driver
from services.search.worker import SearchWorker
from services.trainer.stages import lost
from services.trainer.stages.lost import DeadLetters, LostMessages
from services.trainer.stages.search import RewriteStage, SearchStage
from services.trainer.stages.stage import RunContext, problems_to_bytes
from tests.unit.search.search_fakes import RECIPE, SETTINGS, ScriptedPolicy, TaskVerifier, problems, queued

COUNT = 6
OF_RUN = RECIPE.model_copy(
    update={
        "linearize": LinearizeSettings(num_wrong=(1, 1), self_evaluation_samples=0),
        "rewrite": RewriteSettings(method="template"),
    }
)
REWRITING = RewriterSettings(inference="127.0.0.1:1", verifier="127.0.0.1:2", hand_back_seconds=0.05)


class Platform:
    """The search and rewriter services and the trainer's two stages, on a broker that can be wiped."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "broker.db"
        self.store = open_store(f"file://{folder}/store")
        self.broker: Broker = self._open()
        self.policy = ScriptedPolicy()
        self.store.put("runs/r/recipe.json", OF_RUN.model_dump_json().encode())
        self.store.put("runs/r/problems/search.jsonl", problems_to_bytes(problems(COUNT)))

    def _open(self) -> Broker:
        return open_broker(f"sqlite://{self._file}")

    def wipe(self) -> None:
        """Everything the broker knew is gone; nobody may be using it."""
        self.broker.close()
        for path in self._file.parent.glob(self._file.name + "*"):
            path.unlink()
        self.broker = self._open()

    @property
    def context(self) -> RunContext:
        async def get_model() -> Any:
            return SimpleNamespace(checkpoint_key="runs/r/checkpoints/base")

        policy: Any = SimpleNamespace(get_model=get_model)
        other: Any = None
        return RunContext("r", OF_RUN, other, self.store, self.broker, policy, other, other)

    @contextlib.asynccontextmanager
    async def working(self, *names: str) -> AsyncIterator[None]:
        """With the services `names` at work; left, they are drained."""
        drain = asyncio.Event()
        verifier = TaskVerifier()
        workers: dict[str, SearchWorker | RewriterWorker] = {
            "search": SearchWorker(self.broker, self.store, Driver(self.policy, verifier), SETTINGS),
            "rewriter": RewriterWorker(
                self.broker,
                self.store,
                Pipeline(Judge(self.policy, self.store), Teller(self.policy, verifier)),
                REWRITING,
            ),
        }
        for name in names:
            workers[name].prepare()
        running = [asyncio.create_task(workers[name].run(drain)) for name in names]
        try:
            yield
        finally:
            drain.set()
            await asyncio.wait_for(asyncio.gather(*running), 60)

    def stored(self, folder: str) -> int:
        return len(list(self.store.list(f"runs/r/{folder}/")))


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    yield platform
    platform.broker.close()


async def nothing(_done: int, _total: int, _detail: str) -> None:
    """Nobody looks."""


async def cut_off(stage: SearchStage | RewriteStage, context: RunContext, condition: Callable[[], bool]) -> None:
    """Runs the stage until the condition holds, and kills it."""
    task = asyncio.create_task(stage.run(context, nothing))
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})


async def test_a_run_finishes_although_the_broker_is_wiped_in_each_stage(platform: Platform) -> None:
    """Wiped while problems are searched and again while trees are rewritten: every tree and every set is there once."""
    platform.policy.blocks_at = 20
    async with platform.working("search"):
        await cut_off(SearchStage(), platform.context, lambda: platform.policy.num_asked > 20)
    assert platform.stored("trees") < COUNT
    platform.wipe()
    platform.policy.blocks_at = None
    async with platform.working("search"):
        await asyncio.wait_for(SearchStage().run(platform.context, nothing), 60)
    platform.wipe()
    async with platform.working("rewriter"):
        await cut_off(RewriteStage(), platform.context, lambda: platform.stored("solutions") > 0)
    platform.wipe()
    async with platform.working("rewriter"):
        await asyncio.wait_for(RewriteStage().run(platform.context, nothing), 60)
    assert (platform.stored("trees"), platform.stored("solutions")) == (COUNT, COUNT)
    told = {message.key for message in everything(platform.broker, SOLUTIONS_TOPIC)}
    assert told == {f"r/{problem.id}" for problem in problems(COUNT)}


async def test_a_run_on_a_calm_broker_publishes_nothing_twice(platform: Platform) -> None:
    """One message on each topic for each problem."""
    async with platform.working("search", "rewriter"):
        await asyncio.wait_for(SearchStage().run(platform.context, nothing), 60)
        await asyncio.wait_for(RewriteStage().run(platform.context, nothing), 60)
    for topic in (PROBLEMS_TOPIC, TREES_TOPIC, SOLUTIONS_TOPIC):
        assert len(list(everything(platform.broker, topic))) == COUNT


async def test_what_the_topic_holds_is_not_lost_while_the_group_has_lag(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' messages keep the lag up: after a quiet time the one that the topic does not hold is lost, no other."""
    monkeypatch.setattr(lost, "_QUIET_SECONDS", 0.0)
    one, other = problems(2)
    platform.broker.create_topic(PROBLEMS_TOPIC, 2)
    platform.broker.publish(PROBLEMS_TOPIC, f"r/{one.id}", queued(one))
    messages = LostMessages(platform.context, PROBLEMS_TOPIC, SEARCH_GROUP)
    assert await messages.among({one.id, other.id}, await messages.lag()) == {other.id}


async def test_a_quiet_time_grows_before_the_topic_is_read_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long trees do not have the topic read over and over: at once here, then not before twice the time."""
    monkeypatch.setattr(lost, "_QUIET_SECONDS", 0.0)
    monkeypatch.setattr(lost, "_LONGEST_QUIET_SECONDS", 0.0)
    reads: list[str] = []

    async def on_topic(_context: RunContext, topic: str) -> set[str]:
        reads.append(topic)
        return {"p1"}

    monkeypatch.setattr(lost, "on_topic", on_topic)
    messages = LostMessages(platform.context, PROBLEMS_TOPIC, SEARCH_GROUP)
    assert await messages.among({"p1"}, lag=5) == set()
    monkeypatch.setattr(messages, "_quiet_seconds", 100.0)
    assert await messages.among({"p1"}, lag=5) == set()
    assert reads == [PROBLEMS_TOPIC]


async def test_given_up_is_what_lies_open_or_was_dropped(platform: Platform) -> None:
    """A replayed letter's problem is waited for again; letters of other runs and of garbage say nothing."""
    broker, made = platform.broker, problems(4)
    broker.create_topic(PROBLEMS_TOPIC, 2)
    values = [*map(queued, made[:3]), b"\xff\x00garbage", queued(made[3]).replace(b"\x01r", b"\x01s", 1)]
    for number, value in enumerate(values):
        message = Message(PROBLEMS_TOPIC, 0, number, str(number), value)
        broker.publish(PROBLEMS_TOPIC + ".dlq", message.key, value, dead_letter_headers(message, 3, OSError()))
    by_key = {letter.key: letter for letter in open_letters(broker, PROBLEMS_TOPIC)}
    dead_letters.replay(broker, PROBLEMS_TOPIC, by_key["0"])
    dead_letters.drop(broker, PROBLEMS_TOPIC, by_key["1"])
    dead = DeadLetters(platform.context, PROBLEMS_TOPIC)
    assert dead.read() == {made[1].id, made[2].id}
    dead.close()


async def test_solutions_without_a_message_are_announced(platform: Platform) -> None:
    """The topic of solutions was lost after they were stored: at its end the stage publishes them again."""
    async with platform.working("search", "rewriter"):
        await asyncio.wait_for(SearchStage().run(platform.context, nothing), 60)
        await asyncio.wait_for(RewriteStage().run(platform.context, nothing), 60)
    before = {(each.key, each.value) for each in everything(platform.broker, SOLUTIONS_TOPIC)}
    platform.wipe()
    await asyncio.wait_for(RewriteStage().run(platform.context, nothing), 60)
    assert {(each.key, each.value) for each in everything(platform.broker, SOLUTIONS_TOPIC)} == before
    assert len(before) == COUNT
