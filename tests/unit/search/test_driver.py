"""Calls in flight together, replies in any order, a crash at any await: the same tree, and nothing asked twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_fakes import COUNTDOWN, MemoryStore, ScriptedPolicy, TaskVerifier

from retrograde.core.policy import Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem, Provenance
from retrograde.core.search import Search
from retrograde.core.searches import make_search
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import SearchTree
from retrograde.runtime.errors import InvalidInputError, OtherPolicyError, UnavailableError
from services.search.driver import Driver, FeedOrder, NoLog, call_seed
from services.search.engine_gate import EngineGate
from services.search.tree_log import TreeLog

PREFIX = "log/"
(PROBLEM,) = COUNTDOWN.problems({"num_numbers": 4, "count": 1}, "search", seed=5)
SMALL = SearchSettings(num_iterations=8, num_actions=3, num_rollouts=2)
ORDERS: Sequence[FeedOrder] = get_args(FeedOrder)
WIDTHS = (1, 4, 16)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store calls happen between two awaits of the loop, so that a crash can be placed before and after each."""
    monkeypatch.setattr(asyncio, "to_thread", inline)


async def inline(call: Callable[..., Any], *arguments: object) -> object:
    await asyncio.sleep(0)
    result = call(*arguments)
    await asyncio.sleep(0)
    return result


class UnevenPolicy(ScriptedPolicy):
    """Answers after up to `longest` turns of the loop, by `delays`: replies overtake each other."""

    def __init__(self, delays: int, longest: int = 12) -> None:
        super().__init__()
        self._delays = random.Random(delays)
        self._longest = longest
        self.asked: list[int | None] = []

    async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
        self.asked.append(sampling.seed)
        for _ in range(self._delays.randrange(self._longest + 1)):
            await asyncio.sleep(0)
        return await super().generate(prompt, sampling, **pin)


@dataclass
class World:
    """A store that survives, in which one tree is searched again and again until it is done."""

    settings: SearchSettings
    delays: int = 0
    store: MemoryStore = field(default_factory=MemoryStore)

    def search(self) -> Search:
        tree = SearchTree(PROBLEM, provenance=Provenance(seed=7))
        return make_search(tree, COUNTDOWN, self.settings)

    def logged(self) -> list[Any]:
        return TreeLog(self.store, PREFIX)._read()

    async def run(self, steps: int | None = None) -> Search | None:
        """The finished search; None if it was cancelled after `steps` turns of the loop. Asks nothing logged."""
        search, policy = self.search(), UnevenPolicy(self.delays)
        known = {call_seed(7, PROBLEM.id, record.call.index) for record in self.logged()}
        task = asyncio.create_task(exhausted(Driver(policy, TaskVerifier()), search, TreeLog(self.store, PREFIX)))
        for _ in range(steps if steps is not None else 1_000_000):
            await asyncio.sleep(0)
            if task.done():
                break
        task.cancel()
        await asyncio.wait({task})
        assert not known.intersection(policy.asked)
        assert len(policy.asked) == len(set(policy.asked))
        return None if task.cancelled() else task.result()

    def replayed(self) -> Search:
        """The search made by feeding the log, in the order that the settings ask for, without any driver."""
        search, records = self.search(), self.logged()
        if self.settings.feed_order == "index":
            records.sort(key=lambda record: record.call.index)
        for record in records:
            search.feed(record.call, record.reply)
        return search


async def exhausted(driver: Driver, search: Search, log: TreeLog) -> Search:
    async for _ in driver.run(search, log, search._settings.feed_order):
        pass
    return search


def assert_same(one: Search, other: Search) -> None:
    """Every node, every count and every token."""
    assert one.tree.nodes == other.tree.nodes
    assert one.tree.num_iterations == other.tree.num_iterations
    assert one.spent == other.spent
    assert one.done
    assert other.done


def settings(width: int, order: FeedOrder, **more: object) -> SearchSettings:
    return SMALL.model_copy(update={"max_in_flight": width, "feed_order": order, **more})


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", WIDTHS)
async def test_crash_at_every_await_leaves_the_same_tree(width: int, order: FeedOrder) -> None:
    """Cancelled once after each possible number of turns and continued, the tree is that of its log, to the token."""
    whole = World(settings(width, order))
    reference = await whole.run()
    assert reference is not None
    steps, uninterrupted = 0, False
    while not uninterrupted:
        world = World(whole.settings)
        uninterrupted = await world.run(steps) is not None
        search = await world.run()
        assert search is not None
        assert_same(search, world.replayed())
        cost = search.tree.provenance.cost
        assert cost.generated_tokens == search.spent.generated_tokens
        assert cost.prompt_tokens == 10 * search.spent.num_calls == 10 * len(world.logged())
        if order == "index":
            assert_same(search, reference)
        steps += 1
    assert steps > 30


@given(
    width=st.sampled_from(WIDTHS),
    order=st.sampled_from(ORDERS),
    delays=st.integers(0, 2**32),
    crashes=st.lists(st.integers(0, 150), max_size=6),
)
def test_any_order_of_replies_and_any_crashes_leave_the_tree_of_the_log(
    width: int, order: FeedOrder, delays: int, crashes: list[int]
) -> None:
    """However replies overtake each other and however often it is killed; fed by index, timing does not matter."""

    async def check() -> None:
        world = World(settings(width, order), delays)
        for steps in crashes:
            await world.run(steps)
        search = await world.run()
        assert search is not None
        assert_same(search, world.replayed())
        if order == "index":
            reference = await World(world.settings).run()
            assert reference is not None
            assert_same(search, reference)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", inline)
        asyncio.run(check())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tokens", [150, 250, 400])
async def test_budget_is_never_exceeded_also_after_crashes(width: int, order: FeedOrder, tokens: int) -> None:
    """Fed, logged and charged tokens are one number, at most the limit, and the tree stops because of it."""
    budget = {"max_generated_tokens": tokens, "max_step_tokens": 10, "max_rollout_tokens": 40}
    world = World(settings(width, order, **budget), delays=tokens)
    for steps in (20, 40, 60):
        await world.run(steps)
    search = await world.run()
    assert search is not None
    logged = sum(each.num_tokens for record in world.logged() for each in record.generation.completions)
    assert search.spent.generated_tokens == search.tree.provenance.cost.generated_tokens == logged <= tokens
    assert search.tree.num_iterations < SMALL.num_iterations


async def test_calls_of_a_tree_are_in_flight_together() -> None:
    """With four allowed, four are asked before any is answered."""
    policy = ScriptedPolicy(blocks_at=0)
    world = World(settings(4, "index", evaluate="children"))
    search = world.search()
    task = asyncio.create_task(exhausted(Driver(policy, TaskVerifier()), search, TreeLog(world.store, PREFIX)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert policy.num_asked == len(search.in_flight) == 1  # the root's children are not known yet
    policy.released.set()
    policy.blocks_at, policy.released = 1, asyncio.Event()
    for _ in range(100):
        await asyncio.sleep(0)
    assert policy.num_asked - 1 == len(search.in_flight) > 1
    task.cancel()
    await asyncio.wait({task})


async def test_held_back_replies_are_bounded() -> None:
    """While the oldest call is not answered, no more calls than `max_in_flight` are asked, held back or not."""

    class OldestIsStuck(ScriptedPolicy):
        async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
            if sampling.seed == call_seed(7, PROBLEM.id, 2):
                self.num_asked += 1
                await self.released.wait()
            return await super().generate(prompt, sampling, **pin)

    world = World(settings(4, "index"))
    policy = OldestIsStuck()
    task = asyncio.create_task(exhausted(Driver(policy, TaskVerifier()), world.search(), TreeLog(world.store, PREFIX)))
    for _ in range(400):
        await asyncio.sleep(0)
    asked = sorted(record.call.index for record in world.logged())
    assert max(asked) <= 2 + 4
    policy.released.set()
    await task


async def test_log_of_another_search_is_left_from_where_it_differs() -> None:
    """With other settings the first calls may still fit; what does not is asked again, and the log is then right."""
    first = World(settings(1, "index"))
    await first.run(60)
    second = World(settings(1, "index", num_rollouts=3), store=first.store)
    known = len(first.logged())
    search = second.search()
    policy = UnevenPolicy(0)
    await exhausted(Driver(policy, TaskVerifier()), search, TreeLog(second.store, PREFIX))
    assert known > 1
    assert policy.asked[0] == call_seed(7, PROBLEM.id, 1)
    assert_same(search, second.replayed())


async def test_failed_call_loses_no_answer_before_it() -> None:
    """What arrived with the failure is logged first; the rest is cancelled, and the error is the caller's."""

    class Failing(UnevenPolicy):
        async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
            if len(self.asked) >= 5:
                raise UnavailableError("gone")
            return await super().generate(prompt, sampling, **pin)

    world = World(settings(4, "index"))
    policy = Failing(1)
    with pytest.raises(UnavailableError):
        await exhausted(Driver(policy, TaskVerifier()), world.search(), TreeLog(world.store, PREFIX))
    logged = {call_seed(7, PROBLEM.id, record.call.index) for record in world.logged()}
    assert logged
    assert logged <= set(policy.seeds)
    assert await world.run() is not None


async def test_a_tree_is_of_one_policy() -> None:
    """A reply of another policy version is refused before it is logged or fed."""

    class Updated(ScriptedPolicy):
        async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
            generation = await super().generate(prompt, sampling, **pin)
            return generation if self.num_asked < 5 else replace(generation, policy_version=5)

    world = World(settings(1, "index"))
    with pytest.raises(OtherPolicyError, match="the tree was begun under 4 and 5 answered; begin again"):
        await exhausted(Driver(Updated(), TaskVerifier()), world.search(), TreeLog(world.store, PREFIX))
    assert {record.generation.policy_version for record in world.logged()} == {4}


async def test_calls_of_a_tree_ask_under_its_name_for_the_policy_it_began_under() -> None:
    """The key is run and problem in every call; the version is any in the first and that of its answer from then on."""
    search = World(settings(1, "index")).search()
    search.tree.provenance.run_id = "r"
    policy = ScriptedPolicy()
    await exhausted(Driver(policy, TaskVerifier()), search, NoLog())
    key = f"r/{PROBLEM.id}"
    assert [(key, 0), (key, 4)] == policy.pins[:2]
    assert set(policy.pins[1:]) == {(key, 4)}


async def test_cost_counts_the_calls_of_the_tree() -> None:
    """After kills too: calls in the tree's cost are those that were fed."""
    world = World(settings(4, "index"))
    for steps in (20, 40):
        await world.run(steps)
    search = await world.run()
    assert search is not None
    assert search.tree.provenance.cost.model_calls == search.spent.num_calls > 1


async def test_a_tree_of_higher_priority_ends_first() -> None:
    """At a gate for one call at a time the tree begun last ends before the second."""
    ended: list[str] = []

    async def run(name: str, priority: int) -> None:
        async for _ in driver.run(World(settings(1, "index")).search(), NoLog(), priority=priority):
            pass
        ended.append(name)

    driver = Driver(ScriptedPolicy(), TaskVerifier(), EngineGate(1))
    await asyncio.gather(run("first", 0), run("second", 0), run("third", 0), run("urgent", 1))
    assert ended.index("urgent") < ended.index("second") < ended.index("third")


async def test_root_that_is_refused_is_the_problems_fault() -> None:
    """A prompt that leaves no room at the root is an error; below it a node without children."""

    class NoRoom(ScriptedPolicy):
        async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
            raise InvalidInputError("prompt: too long")

    search = World(settings(4, "index")).search()
    with pytest.raises(InvalidInputError):
        await anext(Driver(NoRoom(), TaskVerifier()).run(search, NoLog()))


async def test_closed_run_leaves_no_task() -> None:
    """Whoever stops looking cancels the questions that are still open."""

    async def some(records: AsyncIterator[object]) -> Iterator[object]:
        return iter([await anext(records), await anext(records)])

    search = World(settings(16, "index", evaluate="children")).search()
    run = Driver(UnevenPolicy(3), TaskVerifier()).run(search, NoLog())
    await some(run)
    assert len(search.in_flight) > 1
    await run.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class CountingPolicy(ScriptedPolicy):
    """Knows how many samples it was asked for at the same time at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
        self.now += sampling.n
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.001)
            return await super().generate(prompt, sampling, **pin)
        finally:
            self.now -= sampling.n


async def test_all_trees_together_ask_no_more_samples_than_the_gate_lets_in() -> None:
    """Eight trees with eight calls each in flight fill the gate of 20 samples and never pass it."""
    policy = CountingPolicy()
    driver = Driver(policy, TaskVerifier(), EngineGate(20))
    wide = settings(8, "index", evaluate="children")
    searches = [World(wide).search() for _ in range(8)]
    await asyncio.gather(*(exhausted(driver, search, TreeLog(MemoryStore(), PREFIX)) for search in searches))
    assert 18 <= policy.most <= 20
    assert all(search.done for search in searches)


async def test_drained_run_logs_what_was_asked_and_leaves_what_waited_for_its_turn() -> None:
    """Of the calls at the gate only the one inside is answered; it is logged, and asked no more."""
    drain, policy = asyncio.Event(), ScriptedPolicy(blocks_at=1)
    world = World(settings(8, "index", evaluate="children"))
    search = world.search()
    run = Driver(policy, TaskVerifier(), EngineGate(1)).run(search, TreeLog(world.store, PREFIX), drain=drain)
    assert (await anext(run)).call.index == 0
    second = asyncio.create_task(anext(run))
    while policy.num_asked < 2:
        await asyncio.sleep(0)
    drain.set()
    policy.released.set()
    assert (await second).call.index == 1
    assert [record async for record in run] == []
    assert [record.call.index for record in world.logged()] == [0, 1]
    assert policy.num_asked == 2
    assert not search.done


class _Unused(TaskVerifier):
    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        raise AssertionError(items)


async def test_drained_run_asks_nothing_and_is_not_done() -> None:
    """A run that begins after the drain ends at once with its questions unasked."""
    drain = asyncio.Event()
    drain.set()
    search = World(settings(4, "index")).search()
    assert [record async for record in Driver(ScriptedPolicy(), _Unused()).run(search, NoLog(), drain=drain)] == []
    assert not search.done
