"""What runs in the simulation: the services' real workers and the trainer's real stages, on a scripted model.

    trainer   publishes the problems, waits for trees and solutions, chooses the data set
    search    problems -> trees
    rewriter  trees -> solutions

The model answers by prompt and seed alone, a verdict is the task's: whatever happens, the same questions have the same
answers. Both take their time, and may fail. What is asked of them is in the history.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Cost, Grade, Problem
from retrograde.core.settings import LinearizeSettings, RewriteSettings, SearchSettings
from retrograde.recipe import recipe as recipes
from retrograde.recipe.recipe import Problems, ProblemSource, Recipe
from retrograde.runtime import starting
from retrograde.runtime.errors import UnavailableError
from retrograde.tasks.countdown import YES, after, moves, read_statement, step_text
from retrograde.tasks.task import load_task
from services.rewriter.judge import Judge
from services.rewriter.pipeline import Pipeline
from services.rewriter.settings import RewriterSettings
from services.rewriter.teller import Teller
from services.rewriter.worker import RewriterWorker
from services.search.driver import Driver
from services.search.settings import SearchServiceSettings
from services.search.worker import SearchWorker
from services.trainer.stages.dataset import DatasetStage
from services.trainer.stages.search import RewriteStage, SearchStage
from services.trainer.stages.stage import RunContext, problems_to_bytes
from tests.simulation.ports import Cluster, SimulatedBroker, SimulatedStore
from tests.simulation.world import Incarnation, World

RUN = "r"
POISON = Problem("poison", "no-such-task", "Numbers: 1 2 3, target: 6.", "6")
VERIFIER_SECONDS = 0.05
PAUSE_SECONDS = 1.0
COUNTDOWN = load_task("countdown")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be done, and by how many."""

    num_problems: int = 3
    has_poison: bool = False
    max_in_flight: int = 2
    num_searchers: int = 2
    num_rewriters: int = 1
    max_trees: int = 2
    num_partitions: int = 2
    model_seconds: float = 0.4  # an answer takes at most

    @staticmethod
    def drawn(rng: random.Random) -> Scene:
        """Any small one."""
        return Scene(
            num_problems=rng.choice((2, 3, 3, 4)),
            has_poison=rng.random() < 0.25,
            max_in_flight=rng.choice((1, 2, 3)),
            num_searchers=rng.choice((1, 2, 2, 3)),
            num_rewriters=rng.choice((1, 1, 2)),
            max_trees=rng.choice((1, 2, 4)),
            num_partitions=rng.choice((1, 2, 3)),
            model_seconds=rng.choice((0.2, 0.4, 0.4, 0.4, 0.4, 4.0)),
        )

    @property
    def task(self) -> Scene:
        """The scene with all that makes no difference to what must come of it left out."""
        return Scene(self.num_problems, self.has_poison, self.max_in_flight)

    @property
    def problems(self) -> list[Problem]:
        """Those submitted."""
        return [*_solvable()[: self.num_problems], *([POISON] if self.has_poison else [])]

    @property
    def recipe(self) -> Recipe:
        """Of the run."""
        return _recipe(self.max_in_flight)


@cache
def _solvable() -> list[Problem]:
    return COUNTDOWN.problems({"num_numbers": 3, "count": 4}, "search", seed=1)


@cache
def _recipe(max_in_flight: int) -> Recipe:
    return Recipe(
        name="simulated",
        seed=7,
        task="countdown",
        policy=recipes.Policy(checkpoint="/nowhere"),
        problems=Problems(search=ProblemSource(), evaluate=ProblemSource()),
        search=SearchSettings(num_iterations=3, num_actions=3, num_rollouts=1, max_in_flight=max_in_flight),
        linearize=LinearizeSettings(num_wrong=(1, 1), self_evaluation_samples=1),
        rewrite=RewriteSettings(method="template"),
    )


class ScriptedModel:
    """Legal steps of Countdown drawn by the call's seed; every solution is judged right."""

    def __init__(self, site: Site, owner: Incarnation) -> None:
        self._world = site.world
        self._seconds = site.scene.model_seconds
        self._owner = owner

    async def generate(self, prompt: Prompt, sampling: Sampling, **_pin: object) -> Generation:
        self._world.note(self._owner.id, "ask", str(sampling.seed))
        await asyncio.sleep(self._world.rng.random() * self._seconds)
        if self._world.rng.random() < self._world.weather.lost_reads:
            raise UnavailableError("model: no answer")
        return _answer(prompt, sampling)

    async def get_model(self) -> Any:
        return SimpleNamespace(checkpoint_key=f"runs/{RUN}/checkpoints/base")


@cache
def _answer(prompt: Prompt, sampling: Sampling) -> Generation:
    rng = random.Random(sampling.seed)
    texts = [_walk(prompt, rng, 1 if sampling.stop else 9) for _ in range(sampling.n)]
    return Generation(
        tuple(Completion(text, np.arange(len(text.split()), dtype=np.int32), logprob=-rng.random()) for text in texts),
        policy_version=4,
        prompt_token_ids=np.arange(10, dtype=np.int32),
    )


def _walk(prompt: Prompt, rng: random.Random, num_steps: int) -> str:
    """Up to `num_steps` lines after what is begun; a yes to a solution told up to its verdict."""
    head, _, told = prompt.text.partition("\nSolution:\n")
    if told:
        return f"{YES}"
    state, target = read_statement(head)
    for line in prompt.begun.splitlines():
        state = tuple(map(int, line.partition("left: ")[2].split()))
    text = ""
    while len(state) > 1 and num_steps:
        a, operator, b, result = rng.choice(list(moves(state)))
        state = after(state, a, b, result) or ()
        text += step_text(a, operator, b, result, state, target)
        num_steps -= 1
    return text


class TaskVerifier:
    """Grades after a while."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        await asyncio.sleep(self._world.rng.random() * VERIFIER_SECONDS)
        if self._world.rng.random() < self._world.weather.lost_reads:
            raise UnavailableError("verifier: no answer")
        return [_graded(problem, text) for problem, text in items]


@cache
def _graded(problem: Problem, text: str) -> Grade:
    return COUNTDOWN.grade(problem, text)


@dataclass
class Site:
    """One world with its servers, and the scene that is played on it."""

    world: World
    scene: Scene
    is_chosen: bool = False  # the data set is stored

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.world, self.scene.num_partitions)
        prefix = f"runs/{RUN}"
        self.cluster.objects[f"{prefix}/recipe.json"] = self.scene.recipe.model_dump_json().encode()
        self.cluster.objects[f"{prefix}/problems/search.jsonl"] = problems_to_bytes(self.scene.problems)

    def begin(self) -> None:
        """Starts every process."""
        self.world.begin("trainer", self._train)
        for number in range(self.scene.num_searchers):
            self.world.begin(f"search-{number}", self._search)
        for number in range(self.scene.num_rewriters):
            self.world.begin(f"rewriter-{number}", self._rewrite)

    async def _search(self, life: Incarnation) -> None:
        settings = SearchServiceSettings(
            inference="127.0.0.1:1",
            verifier="127.0.0.1:2",
            max_trees=self.scene.max_trees,
            takeover_seconds=1.0,
            hand_back_seconds=0.5,
        )
        driver = Driver(ScriptedModel(self, life), TaskVerifier(self.world))
        broker, store = SimulatedBroker(self.cluster, life), SimulatedStore(self.cluster, life)
        worker = SearchWorker(broker, store, driver, settings)
        await starting.made(worker.prepare)
        await worker.run(life.drain)

    async def _rewrite(self, life: Incarnation) -> None:
        settings = RewriterSettings(
            inference="127.0.0.1:1", verifier="127.0.0.1:2", max_trees=self.scene.max_trees, hand_back_seconds=0.5
        )
        broker, store = SimulatedBroker(self.cluster, life), SimulatedStore(self.cluster, life)
        model = ScriptedModel(self, life)
        pipeline = Pipeline(Judge(model, store), Teller(model, TaskVerifier(self.world)))
        worker = RewriterWorker(broker, store, pipeline, settings)
        await starting.made(worker.prepare)
        await worker.run(life.drain)

    async def _train(self, life: Incarnation) -> None:
        """The stages in order; each again while a server is away."""
        context = RunContext(
            run_id=RUN,
            recipe=self.scene.recipe,
            settings=SimpleNamespace(),
            store=SimulatedStore(self.cluster, life),
            broker=SimulatedBroker(self.cluster, life),
            policy=ScriptedModel(self, life),
            verifier=TaskVerifier(self.world),
            backend=SimpleNamespace(),
        )
        for stage in (SearchStage(), RewriteStage(), DatasetStage()):
            await _done(lambda stage=stage: stage.run(context, _progress))
        self.is_chosen = True


async def _done(run: Callable[[], Awaitable[Cost]]) -> None:
    while True:
        try:
            await run()
        except UnavailableError:
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return


async def _progress(done: int, total: int, detail: str) -> None:
    """Nobody looks."""
