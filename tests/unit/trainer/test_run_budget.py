"""What the trees of a run may spend together is never passed, whatever they cost and whoever is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrograde.core.problem import Cost, Problem, Provenance
from retrograde.core.tree import SearchTree
from retrograde.recipe.recipe import Recipe, RecipeError, parse_recipe
from retrograde.runtime.blocking import calls_made_by
from retrograde.runtime.broker import Message
from retrograde.v1 import messages_pb2
from retrograde.wire.convert import tree_to_proto
from services.trainer.stages import search as search_stage
from services.trainer.stages.search import PROBLEMS_TOPIC, SearchStage
from services.trainer.stages.stage import RunContext, problems_to_bytes

SMALL = """
name: small
task: countdown
policy: {{checkpoint: /none}}
problems: {{search: {{}}, evaluate: {{}}}}
priority: 3
search: {{max_calls: {calls}, max_generated_tokens: {tokens}}}
run_budget: {{max_calls: {run_calls}, max_generated_tokens: {run_tokens}}}
"""


@dataclass
class World:
    """Store, topic and workers of one run; the controller may die and come again."""

    recipe: Recipe
    problems: list[Problem]
    objects: dict[str, bytes] = field(default_factory=dict)
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    detail: str = ""

    def context(self) -> RunContext:
        async def get_model() -> Any:
            return SimpleNamespace(checkpoint_key="runs/r/checkpoints/base")

        policy: Any = SimpleNamespace(get_model=get_model)
        other: Any = None
        self.objects.setdefault("runs/r/problems/search.jsonl", problems_to_bytes(self.problems))
        ports: Any = self
        return RunContext("r", self.recipe, other, ports, ports, policy, other, other)

    # the store
    def get(self, key: str) -> bytes:
        return self.objects[key]

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def exists(self, key: str) -> bool:
        return key in self.objects

    def delete(self, key: str) -> None:
        del self.objects[key]

    def list(self, prefix: str) -> Iterator[str]:
        return iter([key for key in self.objects if key.startswith(prefix)])

    # the broker
    def create_topic(self, topic: str, num_partitions: int) -> None:
        assert (topic, num_partitions) == (PROBLEMS_TOPIC, 16)

    def publish(self, topic: str, key: str, value: bytes) -> None:
        assert topic == PROBLEMS_TOPIC
        self.messages.append((key, value))

    def lag(self, topic: str, group: str) -> int:
        assert (topic, group) == (PROBLEMS_TOPIC, "search")
        return len(self.waiting)

    def consumer(self, topic: str, _group: str) -> Any:
        unread = enumerate(self.dead)
        return SimpleNamespace(
            poll=lambda _seconds, _most: [Message(topic, 0, offset, "", value) for offset, value in unread],
            close=lambda: None,
        )

    # the workers
    @property
    def waiting(self) -> dict[str, Problem]:
        """Queued problems without a tree, by id."""
        found = {}
        for _, value in self.messages:
            queued = messages_pb2.ProblemQueued.FromString(value).problem
            if f"runs/r/trees/{queued.id}.pb" not in self.objects and value not in self.dead:
                found[queued.id] = Problem(queued.id, queued.task, queued.statement, queued.gold)
        return found

    def finish(self, problem: Problem, cost: Cost) -> None:
        tree = SearchTree(problem, provenance=Provenance(cost=cost))
        self.objects[f"runs/r/trees/{problem.id}.pb"] = tree_to_proto(tree).SerializeToString()


def world(count: int, calls: int = 5, tokens: int = 100, run_calls: int = 0, run_tokens: int = 0) -> World:
    text = SMALL.format(calls=calls, tokens=tokens, run_calls=run_calls, run_tokens=run_tokens)
    return World(parse_recipe(text), [Problem(f"p{i}", "countdown", "?", "1") for i in range(count)])


async def inline(call: Any) -> Any:
    """A call of a port, with the loop's other tasks before and after it."""
    await asyncio.sleep(0)
    result = call()
    await asyncio.sleep(0)
    return result


class Controller:
    """The search stage as a task that can be killed between any two awaits."""

    def __init__(self, run: World) -> None:
        self._run = run
        self.task = self._begin()

    def _begin(self) -> asyncio.Task[Cost]:
        async def progress(_done: int, _total: int, detail: str) -> None:
            self._run.detail = detail

        async def work() -> Cost:
            with calls_made_by(inline):
                return await SearchStage().run(self._run.context(), progress)

        return asyncio.create_task(work())

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        self.task = self._begin()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_stage, "_LOOK_EVERY_SECONDS", 0)


@given(
    count=st.integers(1, 12),
    per_tree=st.tuples(st.integers(1, 6), st.integers(1, 90)),
    trees=st.tuples(st.floats(1, 14), st.floats(1, 14)),
    limited=st.sampled_from([(1, 0), (0, 1), (1, 1)]),
    events=st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.floats(0, 1), st.floats(0, 1)), max_size=60),
)
def test_the_runs_budget_is_never_passed_and_is_used_to_less_than_a_tree(
    count: int,
    per_tree: tuple[int, int],
    trees: tuple[float, float],
    limited: tuple[int, int],
    events: list[tuple[int, bool, float, float]],
) -> None:
    """Whatever trees cost, in any order, and with the controller killed anywhere; what is left out did not fit."""
    limits = [int(most * number) * on for most, number, on in zip(per_tree, trees, limited, strict=True)]
    run = world(count, *per_tree, *limits)
    spent = [0, 0]

    def check() -> None:
        for limit, most, used in zip(limits, per_tree, spent, strict=True):
            assert not limit or used + most * len(run.waiting) <= limit

    async def scenario() -> None:
        controller, costs = Controller(run), iter([*events, *((9, False, 1.0, 1.0) for _ in range(200))])
        while not controller.task.done():
            turns, killed, *shares = next(costs)
            await controller.turns(turns)
            check()
            if killed:
                await controller.kill()
            elif run.waiting:
                cost = [round(share * most) for share, most in zip(shares, per_tree, strict=True)]
                spent[0], spent[1] = spent[0] + cost[0], spent[1] + cost[1]
                run.finish(next(iter(run.waiting.values())), Cost(model_calls=cost[0], generated_tokens=cost[1]))
        total = await controller.task
        assert [total.model_calls, total.generated_tokens] == spent
        assert not run.waiting
        left_out = count - len({key for key, _ in run.messages})
        fits = all(not limit or used + most <= limit for limit, most, used in zip(limits, per_tree, spent, strict=True))
        assert not (left_out and fits)
        assert ("not searched, run_budget is spent" in run.detail) == bool(left_out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_stage, "_LOOK_EVERY_SECONDS", 0)
        asyncio.run(asyncio.wait_for(scenario(), 60))


async def test_problems_left_out_are_named() -> None:
    """Of three problems the budget of ten calls takes two of five; the third is named in the stage's detail."""
    run = world(3, run_calls=10)
    controller = Controller(run)
    await controller.turns(200)
    for problem in run.waiting.values():
        run.finish(problem, Cost(model_calls=5))
    await controller.task
    assert run.detail.startswith("0 solved, 0 iterations")
    assert run.detail.endswith("not searched, run_budget is spent: p2 (1)")


async def test_given_up_problem_keeps_what_it_may_have_spent() -> None:
    """A dead letter's cost is unknown: nothing is begun in its place."""
    run = world(2, run_calls=9)
    controller = Controller(run)
    await controller.turns(200)
    run.dead.append(run.messages[0][1])
    await controller.kill()
    await controller.task
    assert [key for key, _ in run.messages] == ["r/p0"]
    assert "given up: p0 (1); not searched, run_budget is spent: p1 (1)" in run.detail


async def test_without_a_budget_all_is_queued_at_once_with_the_runs_priority() -> None:
    """And once: a controller that comes later puts nothing on the topic again."""
    run = world(4)
    controller = Controller(run)
    await controller.turns(200)
    await controller.kill()
    await controller.turns(200)
    controller.task.cancel()
    queued = [messages_pb2.ProblemQueued.FromString(value) for _, value in run.messages]
    assert [(each.problem.id, each.priority) for each in queued] == [(f"p{i}", 3) for i in range(4)]
    assert json.loads(run.objects["runs/r/published.json"]) == {"num_queued": 4, "num_published": 4}


async def test_a_run_that_goes_on_after_it_was_cancelled_queues_its_problems_again() -> None:
    """All of them, once the mark is gone: workers may have passed any over. A kill between the two changes nothing."""
    run = world(2)
    controller = Controller(run)
    await controller.turns(200)
    controller.task.cancel()
    run.objects["runs/r/cancelled"] = b""
    later = Controller(run)
    while "runs/r/cancelled" in run.objects:
        await later.turns(1)
        assert len(run.messages) == 2
    await later.kill()
    await later.turns(200)
    later.task.cancel()
    assert [key for key, _ in run.messages][-2:] == ["r/p0", "r/p1"]
    assert json.loads(run.objects["runs/r/published.json"]) == {"num_queued": 2, "num_published": 2}


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        (0, "run_budget.max_calls: 10 is kept by what one tree may spend, and search.max_calls is 0; set .* to 1..10"),
        (11, "and search.max_calls is 11; set search.max_calls to 1..10"),
    ],
)
def test_a_budget_needs_a_limit_per_tree_that_fits_in_it(calls: int, told: str) -> None:
    """A recipe without one is refused before work starts, with the field, its value and the fix."""
    with pytest.raises(RecipeError, match=told):
        parse_recipe(SMALL.format(calls=calls, tokens=0, run_calls=10, run_tokens=0))
