"""Every tree ends in one set of sound solutions, however often its message comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rewriter_fakes import (
    BAD,
    PROBLEM,
    TASK,
    TREE_KEY,
    WRONGS,
    Run,
    ScriptedPolicy,
    add,
    delivered,
    ready,
    recipe,
    repeats,
    tree,
)

from retrograde.core.invariants import check_solution
from retrograde.core.policy import Prompt
from retrograde.core.problem import Provenance
from retrograde.core.solution import MoveKind, Rewriter, SolutionKind
from retrograde.core.tree import ROOT, SearchTree
from retrograde.runtime.errors import DataLossError, InvalidInputError, NotFoundError
from retrograde.runtime.worker import HandBackError
from retrograde.v1 import messages_pb2
from retrograde.wire.convert_solution import SolutionSet
from services.rewriter.worker import SOLUTIONS_TOPIC, TREES_TOPIC


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Makes runs, and closes them."""
    runs: list[Run] = []

    def run(method: str = "template", samples: int = 0) -> Run:
        runs.append(Run(tmp_path / str(len(runs)), recipe(method, samples)))
        for topic in (TREES_TOPIC, SOLUTIONS_TOPIC):
            runs[-1].broker.create_topic(topic, 4)
        return runs[-1]

    yield run
    for each in runs:
        each.broker.close()


async def handled(run: Run, policy: ScriptedPolicy | None = None, problem_id: str = "p1") -> SolutionSet:
    worker = run.worker(policy or ScriptedPolicy())
    await worker.handle(delivered(problem_id), drain=asyncio.Event())
    return run.solutions(problem_id)


async def test_template_set_is_sound_and_signed(make: Callable[..., Run]) -> None:
    """One direct and two search solutions, each without a broken invariant, each with its provenance."""
    made = await handled(make())
    assert [each.kind for each in made.solutions] == [SolutionKind.DIRECT, SolutionKind.SEARCH, SolutionKind.SEARCH]
    assert [check_solution(each, tree(), TASK) for each in made.solutions] == [[], [], []]
    assert {each.rewriter for each in made.solutions} == {Rewriter.TEMPLATE}
    for signed in (made.provenance, *(each.provenance for each in made.solutions)):
        assert (signed.run_id, signed.parent_keys, signed.policy_version, signed.seed) == ("r", (TREE_KEY,), 4, 7)
    assert made.provenance.cost.verifier_calls == 3
    assert made.provenance.cost.generated_tokens == 0


async def test_set_is_announced_with_its_counts(make: Callable[..., Run]) -> None:
    """The solutions topic is told where the set is and how many of each kind it holds."""
    run = make()
    await handled(run)
    (message,) = run.read(SOLUTIONS_TOPIC)
    told = messages_pb2.SolutionsReady.FromString(message.value)
    assert (told.problem_id, told.solutions_key) == ("p1", "runs/r/solutions/p1.pb")
    assert (told.num_direct, told.num_search) == (1, 2)


async def test_redelivered_tree_leaves_the_same_set(make: Callable[..., Run]) -> None:
    """The second time nothing is asked or written, and the same announcement is made again."""
    run = make("llm", samples=2)
    await handled(run)
    before = run.store.get("runs/r/solutions/p1.pb")
    silent = ScriptedPolicy()
    await handled(run, silent)
    assert silent.asked == []
    assert run.store.get("runs/r/solutions/p1.pb") == before
    first, second = run.read(SOLUTIONS_TOPIC)
    assert first.value == second.value


async def test_same_tree_and_seed_give_the_same_solutions(make: Callable[..., Run]) -> None:
    """Made twice from the same stored tree, walks and words are bit-identical."""
    one, other = await handled(make()), await handled(make())
    assert [(each.id, each.sentences, each.trace) for each in one.solutions] == [
        (each.id, each.sentences, each.trace) for each in other.solutions
    ]


async def test_tree_without_a_right_end_is_counted(make: Callable[..., Run]) -> None:
    """No solution, one reason, and the set is stored and announced all the same."""
    run = make()
    unsolved = SearchTree(replace(PROBLEM, id="p2"), provenance=Provenance("r"))
    add(unsolved, add(unsolved, ROOT, BAD, 0.0), WRONGS[1], 0.0)
    run.store_tree(unsolved)
    made = await handled(run, problem_id="p2")
    assert (list(made.solutions), dict(made.rejected)) == ([], {"no_correct": 1})
    assert len(run.read(SOLUTIONS_TOPIC)) == 1


async def test_model_that_disagrees_with_the_best_gives_the_next(make: Callable[..., Run]) -> None:
    """All samples must say yes: a candidate with one no is refused and counted, the next best is judged and told."""
    prompts: list[str] = []

    def judges(prompt: Prompt, index: int) -> str:
        prompts.append(prompt.text)
        return ": no." if prompt.text == prompts[0] and index == 3 else ": yes, the answer is \\boxed{28}."

    policy = ScriptedPolicy(judges)
    made = await handled(make(samples=8), policy)
    assert [sampling.n for _, sampling in policy.asked] == [8, 8]
    assert made.rejected["candidate_refused"] == 1
    ends = {each.sentences[-1].node for each in made.solutions}
    assert len(ends) == 1
    assert tree().nodes[ends.pop()].is_correct


async def test_model_that_believes_nothing_leaves_no_solution(make: Callable[..., Run]) -> None:
    """Both right ends are refused: the tree is not self-consistent."""
    made = await handled(make(samples=2), ScriptedPolicy(lambda _prompt, _index: "no"))
    assert (list(made.solutions), dict(made.rejected)) == ([], {"not_self_consistent": 1, "candidate_refused": 2})


async def test_judgements_are_asked_once_for_a_tree(make: Callable[..., Run]) -> None:
    """When the set is made again from the same tree, the stored judgements are used, and their cost counted."""
    run = make(samples=2)
    first = await handled(run, asked := ScriptedPolicy())
    run.store.delete("runs/r/solutions/p1.pb")
    second = await handled(run, silent := ScriptedPolicy())
    assert (len(asked.asked), len(silent.asked)) == (1, 0)
    assert first.provenance.cost.generated_tokens == second.provenance.cost.generated_tokens == 6


async def test_model_words_are_kept_when_sound(make: Callable[..., Run]) -> None:
    """Each step is asked for once; the set holds LLM solutions, with their tokens in the ledger."""
    made = await handled(make("llm"), policy := ScriptedPolicy())
    assert {each.rewriter for each in made.solutions} == {Rewriter.LLM}
    assert [check_solution(each, tree(), TASK) for each in made.solutions] == [[], [], []]
    assert made.provenance.cost.generated_tokens == 3 * len(policy.asked) > 0
    assert {each.provenance.policy_version for each in made.solutions} == {5}


async def test_unsound_step_is_asked_for_again_then_templated(make: Callable[..., Run]) -> None:
    """A step told with a foreign number is asked for `max_attempts` times, then told in its own text and counted."""
    policy = ScriptedPolicy(lambda prompt, index: "It is 999." if prompt.text.endswith(BAD) else repeats(prompt, index))
    made = await handled(make("llm"), policy)
    asked = [prompt.text for prompt, _ in policy.asked if prompt.text.endswith(BAD)]
    assert len(asked) == 2 * len(set(asked)) > 0
    told_bad = [each for each in made.solutions if BAD in each.completion]
    assert {each.rewriter for each in told_bad} == {Rewriter.LLM_THEN_TEMPLATE}
    assert made.solutions[0].rewriter is Rewriter.LLM


async def test_second_attempt_may_save_the_step(make: Callable[..., Run]) -> None:
    """A step refused once and then told soundly leaves an LLM solution, and the attempts differ in their seed."""
    policy = ScriptedPolicy()
    policy.answer = lambda prompt, index: repeats(prompt, index) if len(policy.asked) % 2 == 0 else "It is 999."
    made = await handled(make("llm"), policy)
    assert {each.rewriter for each in made.solutions} == {Rewriter.LLM}
    first, second = (sampling.seed for _, sampling in policy.asked[:2])
    assert first != second


async def test_words_sound_by_step_but_wrong_as_a_whole_are_templated(make: Callable[..., Run]) -> None:
    """Prose with the right numbers that the task cannot grade falls back to the template from start to end."""
    policy = ScriptedPolicy(lambda prompt, index: "So: " + repeats(prompt, index))
    made = await handled(make("llm"), policy)
    assert {each.rewriter for each in made.solutions} == {Rewriter.LLM_THEN_TEMPLATE}
    assert [check_solution(each, tree(), TASK) for each in made.solutions] == [[], [], []]
    assert dict(made.rejected) == {}


async def test_words_that_were_cut_short_are_refused(make: Callable[..., Run]) -> None:
    """A sentence that ran into the token limit is not kept, sound or not."""
    made = await handled(make("llm"), ScriptedPolicy(finish_reason="length"))
    assert {each.rewriter for each in made.solutions} == {Rewriter.LLM_THEN_TEMPLATE}


async def test_prompt_too_long_for_the_model_is_told_by_template(make: Callable[..., Run]) -> None:
    """A refused request is no poison: the step keeps its own text, without further attempts."""
    policy = ScriptedPolicy()
    num_asked = 0

    async def refuses(*_: object) -> None:
        nonlocal num_asked
        num_asked += 1
        raise InvalidInputError("prompt: 600 tokens leave no room")

    policy.generate = refuses  # type: ignore[method-assign,assignment]
    made = await handled(make("llm"), policy)
    assert {each.rewriter for each in made.solutions} == {Rewriter.LLM_THEN_TEMPLATE}
    assert num_asked == sum(sum(move.kind is MoveKind.STEP for move in each.trace.moves) for each in made.solutions)


async def test_drain_hands_a_slow_tree_back(make: Callable[..., Run]) -> None:
    """A model that does not answer cannot hold the process; nothing is stored, and the next worker does it all."""
    run, drain = make("llm"), asyncio.Event()
    drain.set()
    policy = ScriptedPolicy()

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    policy.generate = never  # type: ignore[method-assign,assignment]
    with pytest.raises(HandBackError):
        await run.worker(policy).handle(delivered(), drain=drain)
    with pytest.raises(NotFoundError):
        run.solutions()
    assert len((await handled(run)).solutions) == 3


async def test_topic_of_trees_is_worked_off(make: Callable[..., Run]) -> None:
    """A consumed topic leaves a set per tree, and what is no message lies in the dead letters unchanged."""
    run, drain = make(), asyncio.Event()
    for number in range(6):
        run.store_tree(tree(replace(PROBLEM, id=f"q{number}")))
        run.broker.publish(TREES_TOPIC, f"r/q{number}", ready(f"q{number}"))
    run.broker.publish(TREES_TOPIC, "x", b"\xff")
    worker = run.worker(ScriptedPolicy())
    worker.prepare()
    task = asyncio.create_task(worker.run(drain))
    async with asyncio.timeout(20):
        while run.broker.lag(TREES_TOPIC, "rewriter"):
            await asyncio.sleep(0.02)
    drain.set()
    await task
    assert [len(run.solutions(f"q{number}").solutions) for number in range(6)] == [3] * 6
    assert [message.value for message in run.read(f"{TREES_TOPIC}.dlq")] == [b"\xff"]


async def test_object_that_is_no_tree_is_said(make: Callable[..., Run]) -> None:
    """Bytes under the tree's key that are no tree are data loss, named by the key."""
    run = make()
    run.store.put(TREE_KEY, b"\xff\xff")
    with pytest.raises(DataLossError, match=TREE_KEY):
        await handled(run)
