"""A small searched tree of Countdown, a policy that follows a script, and a run that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem, Provenance
from retrograde.core.settings import LinearizeSettings, RewriteSettings
from retrograde.core.tree import ROOT, Node, NodeOrigin, SearchTree
from retrograde.recipe.recipe import Policy, Problems, ProblemSource, Recipe
from retrograde.runtime.adapters import open_broker, open_store
from retrograde.runtime.broker import Broker, Message
from retrograde.runtime.objects import ObjectStore
from retrograde.tasks.task import load_task
from retrograde.v1 import messages_pb2, solution_pb2
from retrograde.wire.convert import tree_to_proto
from retrograde.wire.convert_solution import SolutionSet, solution_set_from_proto
from services.rewriter.judge import Judge
from services.rewriter.pipeline import Pipeline
from services.rewriter.servicer import RewriterServicer
from services.rewriter.settings import RewriterSettings
from services.rewriter.teller import Teller
from services.rewriter.worker import TREES_TOPIC, RewriterWorker

SETTINGS = RewriterSettings(inference="127.0.0.1:1", verifier="127.0.0.1:2", hand_back_seconds=0.05)
PROBLEM = Problem("p1", "countdown", "Numbers: 3 7 7, target: 28.", "28")
TASK = load_task("countdown")
TREE_KEY = "runs/r/trees/p1.pb"

GOOD, BAD = " 7 * 3 = 21, left: 7 21\n", " 7 + 7 = 14, left: 3 14\n"
RIGHT = " 21 + 7 = 28, the target is 28: yes, the answer is \\boxed{28}.\n"
OTHER_RIGHT = " 7 + 21 = 28, the target is 28: yes, the answer is \\boxed{28}.\n"
WRONGS = (" 21 - 7 = 14, the target is 28: no.\n", " 14 * 3 = 42, the target is 28: no.\n")


def tree(problem: Problem = PROBLEM) -> SearchTree:
    """Two right ends (the first of them the better one) and two wrong ones, of different answers."""
    grown = SearchTree(problem, provenance=Provenance("r", "hash", "0", 4, 7))
    grown.nodes[ROOT].visits = 8
    good, bad = (add(grown, ROOT, step, value) for step, value in ((GOOD, 0.9), (BAD, 0.1)))
    for parent, step in ((good, RIGHT), (good, OTHER_RIGHT), (good, WRONGS[0]), (bad, WRONGS[1])):
        add(grown, parent, step, 0.5)
    return grown


def add(grown: SearchTree, parent: int, step: str, value: float) -> int:
    node = grown.add(Node(parent, NodeOrigin.EXPANSION, step, -1.0 - len(grown.nodes), 9, 0.5, 3, value))
    steps = grown.steps(node)
    if TASK.is_terminal(grown.problem, steps):
        grown.nodes[node].grade = TASK.grade(grown.problem, "".join(steps))
    return node


Answer = Callable[[Prompt, int], str]


def repeats(prompt: Prompt, _index: int) -> str:
    """Retells a step in its own words, and judges every solution right."""
    _, asked, step = prompt.text.partition("Say this step again: ")
    return step if asked else ": yes, the answer is \\boxed{28}."


class ScriptedPolicy:
    """Answers by `answer(prompt, position of the sample)`; keeps all prompts."""

    def __init__(self, answer: Answer = repeats, finish_reason: str = "stop") -> None:
        self.answer = answer
        self.finish_reason = finish_reason
        self.asked: list[tuple[Prompt, Sampling]] = []

    async def generate(self, prompt: Prompt, sampling: Sampling) -> Generation:
        self.asked.append((prompt, sampling))
        texts = [self.answer(prompt, index) for index in range(sampling.n)]
        ids = np.arange(3, dtype=np.int32)
        completions = tuple(Completion(text, ids, finish_reason=self.finish_reason) for text in texts)
        return Generation(completions, policy_version=5, prompt_token_ids=np.arange(10, dtype=np.int32))


class TaskVerifier:
    """Grades at once; keeps the size of each call."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        self.sizes.append(len(items))
        return [TASK.grade(problem, text) for problem, text in items]


def recipe(method: str = "template", samples: int = 0) -> Recipe:
    return Recipe(
        name="small",
        seed=7,
        task="countdown",
        policy=Policy(checkpoint="/nowhere"),
        problems=Problems(search=ProblemSource(), evaluate=ProblemSource()),
        linearize=LinearizeSettings(num_wrong=(1, 2), self_evaluation_samples=samples),
        rewrite=RewriteSettings.model_validate({"method": method, "max_attempts": 2}),
    )


class Run:
    """A store and a broker with the recipe and one tree of run "r" in place."""

    def __init__(self, folder: Path, of: Recipe | None = None) -> None:
        self.store: ObjectStore = open_store(f"file://{folder}/store")
        self.broker: Broker = open_broker(f"sqlite:///{folder}/broker.db")
        self.store.put("runs/r/recipe.json", (of or recipe()).model_dump_json().encode())
        self.store_tree(tree())

    def store_tree(self, grown: SearchTree) -> None:
        self.store.put(f"runs/r/trees/{grown.problem.id}.pb", tree_to_proto(grown).SerializeToString())

    def pipeline(self, policy: ScriptedPolicy) -> tuple[Pipeline, Teller]:
        teller = Teller(policy, TaskVerifier())
        return Pipeline(Judge(policy, self.store), teller), teller

    def worker(self, policy: ScriptedPolicy) -> RewriterWorker:
        return RewriterWorker(self.broker, self.store, self.pipeline(policy)[0], SETTINGS)

    def servicer(self, policy: ScriptedPolicy) -> RewriterServicer:
        return RewriterServicer(self.store, *self.pipeline(policy))

    def solutions(self, problem_id: str = "p1") -> SolutionSet:
        data = self.store.get(f"runs/r/solutions/{problem_id}.pb")
        return solution_set_from_proto(solution_pb2.SolutionSet.FromString(data))

    def read(self, topic: str) -> list[Message]:
        """All messages of `topic`."""
        consumer = self.broker.consumer(topic, "reader")
        try:
            found: list[Message] = []
            while more := consumer.poll(0.05, 1000):
                found += more
            return found
        finally:
            consumer.close()


def ready(problem_id: str = "p1") -> bytes:
    message = messages_pb2.TreeReady(
        run_id="r",
        problem_id=problem_id,
        tree_key=f"runs/r/trees/{problem_id}.pb",
        settings_key="runs/r/recipe.json",
    )
    return message.SerializeToString()


def delivered(problem_id: str = "p1") -> Message:
    return Message(TREES_TOPIC, 0, 0, f"r/{problem_id}", ready(problem_id))
