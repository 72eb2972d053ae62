"""Every problem ends in exactly one tree, whatever is killed, and no finished call is asked again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from search_fakes import SETTINGS, MemoryStore, Run, ScriptedPolicy, TaskVerifier, delivered, problems

from retrograde.core.policy import Generation, Prompt, Sampling
from retrograde.core.problem import Problem
from retrograde.core.tree import NodeOrigin, SearchTree
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.worker import HandBackError
from retrograde.v1 import messages_pb2
from retrograde.wire.topics import cancelled_key
from services.search import metrics
from services.search.driver import Driver, call_seed
from services.search.tree_log import TreeLog
from services.search.worker import PROBLEMS_TOPIC, TREES_TOPIC, SearchWorker

PATIENT = SETTINGS.model_copy(update={"takeover_seconds": 60.0, "hand_back_seconds": 10.0})


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    run.broker.create_topic(TREES_TOPIC, 4)
    yield run
    run.broker.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def search(run: Run, problem: Problem, policy: ScriptedPolicy) -> SearchTree:
    """The tree of one message, handled to its end."""
    await run.worker(policy).handle(delivered(problem), drain=asyncio.Event())
    return run.tree(problem)


def same(one: SearchTree, other: SearchTree) -> bool:
    return one.nodes == other.nodes and one.num_iterations == other.num_iterations


async def consumed(worker: SearchWorker, condition: Callable[[], bool]) -> None:
    """The worker runs until `condition`, then drains."""
    drain = asyncio.Event()
    worker.prepare()
    task = asyncio.create_task(worker.run(drain))
    await until(condition)
    drain.set()
    await task


async def test_every_problem_becomes_one_tree(run: Run) -> None:
    """Ten problems on the topic leave ten trees, ten messages on the trees topic, no log, and no lag."""
    wanted = problems(10)
    for problem in wanted:
        run.queue(problem)
    worker = run.worker(ScriptedPolicy())
    await consumed(worker, lambda: run.broker.lag(PROBLEMS_TOPIC, "search") == 0)
    trees = [run.tree(problem) for problem in wanted]
    assert [tree.num_iterations for tree in trees] == [6] * 10
    ready = [messages_pb2.TreeReady.FromString(message.value) for message in run.read(TREES_TOPIC)]
    assert sorted(each.tree_key for each in ready) == sorted(f"runs/r/trees/{problem.id}.pb" for problem in wanted)
    assert not [key for problem in wanted for key in run.log(problem)]


async def test_problems_of_a_cancelled_run_are_passed_over(run: Run) -> None:
    """Their messages are handled, and nothing is asked or stored for them; once the run goes on they are searched."""
    wanted, policy = problems(3), ScriptedPolicy()
    run.store.put(cancelled_key("r"), b"")
    for problem in wanted:
        run.queue(problem)
    await consumed(run.worker(policy), lambda: run.broker.lag(PROBLEMS_TOPIC, "search") == 0)
    assert (policy.num_asked, list(run.store.list("runs/r/trees/")), run.read(TREES_TOPIC)) == (0, [], [])
    run.store.delete(cancelled_key("r"))
    assert (await search(run, wanted[0], policy)).num_iterations == 6


async def test_tree_says_where_it_came_from_and_what_it_cost(run: Run) -> None:
    """Provenance holds run, recipe, seed and policy version; the ledger is the sum over the calls."""
    policy = ScriptedPolicy()
    tree = await search(run, problems(1)[0], policy)
    provenance = tree.provenance
    assert (provenance.run_id, provenance.seed, provenance.policy_version) == ("r", 7, 4)
    assert provenance.recipe_hash
    assert provenance.cost.prompt_tokens == 10 * policy.num_asked
    assert provenance.cost.generated_tokens > 0
    assert provenance.cost.verifier_calls > 0
    assert provenance.cost.wall_seconds > 0


async def test_redelivered_message_changes_nothing_but_says_so_again(run: Run) -> None:
    """A second delivery asks the model nothing, keeps the tree, and publishes it again."""
    (problem,) = problems(1)
    await search(run, problem, ScriptedPolicy())
    before = run.store.get(f"runs/r/trees/{problem.id}.pb")
    silent = ScriptedPolicy()
    await search(run, problem, silent)
    assert silent.num_asked == 0
    assert run.store.get(f"runs/r/trees/{problem.id}.pb") == before
    assert len(run.read(TREES_TOPIC)) == 2


@pytest.mark.parametrize("num_calls", [0, 1, 4])
async def test_killed_tree_is_continued_without_asking_again(run: Run, tmp_path: Path, num_calls: int) -> None:
    """Killed in its n-th call, a tree is finished by another worker that asks only what is not in the log."""
    (problem,) = problems(1)
    whole = Run(tmp_path / "whole")
    whole.broker.create_topic(TREES_TOPIC, 4)
    reference = await search(whole, problem, uninterrupted := ScriptedPolicy())
    whole.broker.close()
    first = ScriptedPolicy(blocks_at=num_calls)
    task = asyncio.create_task(run.worker(first).handle(delivered(problem), drain=asyncio.Event()))
    await until(lambda: first.num_asked > num_calls)
    task.cancel()
    await asyncio.wait({task})
    assert run.logged(problem) == list(range(num_calls))
    tree = await search(run, problem, second := ScriptedPolicy())
    assert same(tree, reference)
    assert first.seeds + second.seeds == uninterrupted.seeds
    assert tree.provenance.cost.prompt_tokens == reference.provenance.cost.prompt_tokens


async def test_kills_at_random_moments_leave_the_same_tree(run: Run, tmp_path: Path) -> None:
    """Cancelled again and again at random moments, a tree ends as if never disturbed; what is logged is not asked."""
    rng = random.Random(3)
    whole = Run(tmp_path / "whole")
    whole.broker.create_topic(TREES_TOPIC, 4)
    for problem in problems(4):
        reference = await search(whole, problem, ScriptedPolicy())
        done = False
        while not done:
            logged = len(run.logged(problem))
            policy = ScriptedPolicy()
            task = asyncio.create_task(run.worker(policy).handle(delivered(problem), drain=asyncio.Event()))
            done = bool((await asyncio.wait({task}, timeout=rng.uniform(0.0, 0.02)))[0])
            task.cancel()
            await asyncio.wait({task})
            next_seeds = [call_seed(7, problem.id, index) for index in (logged, logged + 1)]  # +1: its put ended late
            assert set(policy.seeds[:1]) <= set(next_seeds)
        assert same(run.tree(problem), reference)
        assert not run.log(problem)
    whole.broker.close()


async def test_drain_hands_back_once_the_calls_in_flight_are_logged(run: Run) -> None:
    """After SIGTERM a tree ends the calls it is in, logs them and goes back; the next worker asks the rest only."""
    (problem,) = problems(1)
    run.tell(max_in_flight=3)
    drain = asyncio.Event()
    first = ScriptedPolicy(blocks_at=2)
    task = asyncio.create_task(run.worker(first, PATIENT).handle(delivered(problem), drain=drain))
    await until(lambda: first.num_asked == 5)
    drain.set()
    first.released.set()
    with pytest.raises(HandBackError):
        await task
    assert len(first.seeds) == len(run.logged(problem)) == 5
    await search(run, problem, second := ScriptedPolicy())
    assert not set(first.seeds) & set(second.seeds)


async def test_drained_worker_begins_no_tree(run: Run) -> None:
    """A tree that comes after SIGTERM goes back without a question."""
    drain = asyncio.Event()
    drain.set()
    with pytest.raises(HandBackError):
        await run.worker(policy := ScriptedPolicy()).handle(delivered(problems(1)[0]), drain=drain)
    assert policy.num_asked == 0


async def test_drain_does_not_wait_for_a_call_that_never_ends(run: Run) -> None:
    """A model that does not answer cannot hold the process: the tree goes back within `hand_back_seconds`."""
    (problem,) = problems(1)
    drain = asyncio.Event()
    policy = ScriptedPolicy(blocks_at=0)
    task = asyncio.create_task(run.worker(policy).handle(delivered(problem), drain=drain))
    await until(lambda: policy.num_asked > 0)
    drain.set()
    async with asyncio.timeout(5 + SETTINGS.hand_back_seconds):
        with pytest.raises(HandBackError):
            await task


async def test_tree_that_stands_still_in_a_living_worker_is_taken_up_again_from_its_log(run: Run) -> None:
    """After `deadline_seconds` its worker lets go, though the broker hears from it; no call is asked twice."""

    class HangsOnce(ScriptedPolicy):
        async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
            if len(self.seeds) == 4 and not self.released.is_set():
                self.released.set()
                await asyncio.Event().wait()
            return await super().generate(prompt, sampling, **pin)

    (problem,) = problems(1)
    run.queue(problem)
    policy = HangsOnce()
    settings = SETTINGS.model_copy(update={"deadline_seconds": 0.5})
    await consumed(run.worker(policy, settings), lambda: run.broker.lag(PROBLEMS_TOPIC, "search") == 0)
    assert run.tree(problem).num_iterations == 6
    assert len(policy.seeds) == len(set(policy.seeds))


async def test_drained_worker_loses_no_problem(run: Run) -> None:
    """Trees in flight at SIGTERM are finished by the next member of the group."""
    wanted = problems(12)
    for problem in wanted:
        run.queue(problem)
    first = ScriptedPolicy(blocks_at=40)
    await consumed(run.worker(first), lambda: first.num_asked > 40)
    assert run.broker.lag(PROBLEMS_TOPIC, "search") > 0
    await consumed(run.worker(ScriptedPolicy()), lambda: run.broker.lag(PROBLEMS_TOPIC, "search") == 0)
    assert [run.tree(problem).num_iterations for problem in wanted] == [6] * 12


async def test_message_delivered_again_meanwhile_waits_for_its_tree(run: Run) -> None:
    """Two deliveries at work in one process search once and publish twice."""
    (problem,) = problems(1)
    worker = run.worker(policy := ScriptedPolicy())
    await asyncio.gather(*(worker.handle(delivered(problem), drain=asyncio.Event()) for _ in range(2)))
    assert len(policy.seeds) == len(set(policy.seeds))
    assert len(run.read(TREES_TOPIC)) == 2


async def test_stored_tree_is_never_replaced(run: Run) -> None:
    """A stale worker that finishes late keeps the tree that others may have used already."""
    (problem,) = problems(1)
    late = ScriptedPolicy(blocks_at=2)
    task = asyncio.create_task(run.worker(late).handle(delivered(problem), drain=asyncio.Event()))
    await until(lambda: late.num_asked > 2)
    await search(run, problem, ScriptedPolicy())
    before = run.store.get(f"runs/r/trees/{problem.id}.pb")
    late.released.set()
    await task
    assert run.store.get(f"runs/r/trees/{problem.id}.pb") == before


async def test_stalled_worker_that_wakes_changes_nothing(run: Run) -> None:
    """While the worker that took its tree over is still at it, the first neither stores nor publishes."""
    (problem,) = problems(1)
    stalled = ScriptedPolicy(blocks_at=2)
    task = asyncio.create_task(
        run.worker(stalled, PATIENT).handle(delivered(problem), drain=(drain := asyncio.Event()))
    )
    await until(lambda: stalled.num_asked > 2)
    owner = ScriptedPolicy(blocks_at=4)
    owning = asyncio.create_task(run.worker(owner).handle(delivered(problem), drain=asyncio.Event()))
    await until(lambda: owner.num_asked > 4)
    fenced = metrics.FENCED._value.get()
    stalled.released.set()
    await until(lambda: metrics.FENCED._value.get() > fenced)
    assert not run.store.exists(f"runs/r/trees/{problem.id}.pb")
    assert run.read(TREES_TOPIC) == []
    assert run.logged(problem) == [0, 1, 2, 3, 4, 5]  # the owner's: what the first one logged since is on a branch
    drain.set()
    with pytest.raises(HandBackError):
        await task
    owner.released.set()
    await owning
    assert len(run.read(TREES_TOPIC)) == 1
    assert not run.log(problem)


async def test_tree_stored_while_its_message_came_again_is_not_searched_again(run: Run) -> None:
    """Its log may be gone before the second worker opens one: that worker then looks for the tree once more."""
    (problem,) = problems(1)

    class LateToSee(MemoryStore):
        def exists(self, key: str) -> bool:
            there = super().exists(key)
            if not there:
                self.objects[key] = b"stored meanwhile"
            return there

    late = LateToSee()
    late.objects["runs/r/recipe.json"] = run.store.get("runs/r/recipe.json")
    worker = SearchWorker(run.broker, late, Driver(policy := ScriptedPolicy(), TaskVerifier()), SETTINGS)
    await worker.handle(delivered(problem), drain=asyncio.Event())
    assert policy.num_asked == 0
    assert late.objects[f"runs/r/trees/{problem.id}.pb"] == b"stored meanwhile"
    assert not list(late.list("runs/r/tree-logs/"))


async def test_tree_nobody_goes_on_with_is_taken_back(run: Run) -> None:
    """A fenced worker whose successor died too finds its log standing still, and finishes the tree itself."""
    (problem,) = problems(1)
    policy = ScriptedPolicy(blocks_at=2)
    worker = run.worker(policy, SETTINGS.model_copy(update={"takeover_seconds": 0.05}))
    task = asyncio.create_task(worker.handle(delivered(problem), drain=asyncio.Event()))
    await until(lambda: policy.num_asked > 2)
    await TreeLog(run.store, f"runs/r/tree-logs/{problem.id}/").read()  # a successor that does no more
    policy.released.set()
    with pytest.raises(HandBackError):
        await task
    await worker.handle(delivered(problem), drain=asyncio.Event())  # as the loop does after its pause
    assert run.tree(problem).num_iterations == 6


async def test_node_the_model_has_no_room_for_ends_there(run: Run) -> None:
    """Below the root a refused prompt leaves a node without children; the tree goes on beside it and is stored."""

    class ShortPolicy(ScriptedPolicy):
        async def generate(self, prompt: Prompt, sampling: Sampling, **pin: Any) -> Generation:
            if prompt.begun:
                raise InvalidInputError("prompt: 600 tokens leave no room")
            return await super().generate(prompt, sampling, **pin)

    tree = await search(run, problems(1)[0], ShortPolicy())
    assert tree.nodes[0].expanded
    assert tree.provenance.policy_version == 4
    assert not any(tree.nodes[node.parent].parent >= 0 for node in tree.nodes if node.origin is NodeOrigin.EXPANSION)


async def test_poison_goes_to_the_dead_letters_unchanged(run: Run) -> None:
    """Bytes that are no message, a problem of no task and one the task cannot read are set aside; the rest is done."""
    (good,) = problems(1)
    bad = [b"\xff\xff", Problem("x", "nosuchtask", "?", "1"), Problem("y", "countdown", "What?", "1")]
    for each in bad:
        run.broker.publish(PROBLEMS_TOPIC, "k", each if isinstance(each, bytes) else delivered(each).value)
    run.queue(good)
    await consumed(run.worker(ScriptedPolicy()), lambda: run.broker.lag(PROBLEMS_TOPIC, "search") == 0)
    dead = run.read(f"{PROBLEMS_TOPIC}.dlq")
    values = {message.value for message in dead}
    assert values == {b"\xff\xff", delivered(bad[1]).value, delivered(bad[2]).value}
    assert len(dead) == 3
    assert not list(run.store.list("runs/r/tree-logs/"))
    assert {message.headers["x-error-type"] for message in dead} == {"InvalidInputError"}
    assert run.tree(good).num_iterations == 6


async def test_broken_recipe_is_named(run: Run) -> None:
    """An object that is no recipe refuses its problems with the key and the path of the fault."""
    run.store.put("runs/r/recipe.json", b'{"name": "x", "task": "countdown", "oops": 1}')
    with pytest.raises(InvalidInputError, match=r"runs/r/recipe.json.policy"):
        await search(run, problems(1)[0], ScriptedPolicy())
