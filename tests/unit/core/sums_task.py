r"""A task small enough to check by hand, and trees and policies for it.

The problem "Start at 0, reach 10." is stepped through by lines "+4 = 4" and ended by "stop: \boxed{4}".
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

import numpy as np

from retrograde.core.mcts import TreeSearch
from retrograde.core.policy import Completion
from retrograde.core.problem import Grade, Problem, Verdict
from retrograde.core.search import Call, CallKind, Reply
from retrograde.core.settings import SearchSettings
from retrograde.core.tree import Node, NodeOrigin, SearchTree
from retrograde.tasks.task import Phrases

PROBLEM = Problem("sums-1", "sums", "Start at 0, reach 10.", "10")
DOUBT, RESTART = Phrases().doubt, Phrases().restart


class Sums:
    """The task."""

    name: str = "sums"
    stop: tuple[str, ...] = ("\n",)
    chat: bool = False
    phrases: Phrases = Phrases()

    def problems(self, options: Mapping[str, object], split: str, seed: int) -> list[Problem]:
        return [PROBLEM]

    def prompt(self, problem: Problem) -> str:
        return f"{problem.statement}\n"

    def split(self, text: str) -> list[str]:
        return text.splitlines(keepends=True)

    def is_terminal(self, problem: Problem, steps: Sequence[str]) -> bool:
        return steps[-1].startswith("stop")

    def grade(self, problem: Problem, text: str) -> Grade:
        answers = re.findall(r"\\boxed\{(\d+)\}", text) or re.findall(r"stop at (\d+)", text)
        if not answers:
            return Grade(Verdict.UNPARSABLE, "no box")
        verdict = Verdict.CORRECT if answers[-1] == problem.gold else Verdict.INCORRECT
        return Grade(verdict, f"boxed {answers[-1]}", answers[-1])

    def recall(self, problem: Problem, steps: Sequence[str]) -> str:
        found = re.findall(r"= (\d+)", steps[-1]) if steps else ["0"]
        if not found:
            raise ValueError(f"{steps[-1]!r} reaches no number")
        return f"had {found[0]}"

    def returns(self, problem: Problem, text: str) -> tuple[int, int]:
        told = valid = 0
        reached: set[str] = set()
        for line in text.splitlines():
            reached.update(re.findall(r"^\S+ = (\d+)", line))
            back = re.findall(r"Let's go back to where we had (\d+)", line)
            restart = line.count("Let's restart our solution")
            told += len(back) + restart
            valid += sum(number in reached for number in back) + restart
        return told, valid

    def verdict_start(self, step: str) -> int | None:
        return None

    def step_prompt(self, problem: Problem, so_far: str, step: str) -> str:
        return f"{so_far}|{step}"

    def judge_prompt(self, problem: Problem, text: str) -> tuple[str, str]:
        return text, "yes"


SUMS = Sums()


def grown(parents: Sequence[int], steps: Sequence[str]) -> SearchTree:
    """A tree of expansions: node i + 1 is `steps[i]` under `parents[i]`; terminals are graded by the task."""
    tree = SearchTree(PROBLEM)
    for parent, step in zip(parents, steps, strict=True):
        node = tree.add(Node(parent, NodeOrigin.EXPANSION, step, logprob=-1.0, num_tokens=2))
        if step.startswith("stop"):
            tree.nodes[node].grade = SUMS.grade(PROBLEM, step)
    return tree


def ten_nodes() -> SearchTree:
    r"""Three wrong answers and one right one.

    0 root
      1 +4 = 4
        2 +5 = 9
          3 stop: 9
        4 +6 = 10
          5 stop: 10 (right)
      6 +7 = 7
        7 stop: 7
        8 +5 = 12
          9 stop: 12
    """
    parents = [0, 1, 2, 1, 4, 0, 6, 6, 8]
    lines = ["+4 = 4", "+5 = 9", stop(9), "+6 = 10", stop(10), "+7 = 7", stop(7), "+5 = 12", stop(12)]
    return grown(parents, [f"{line}\n" for line in lines])


def stop(number: int) -> str:
    return f"stop: \\boxed{{{number}}}"


def random_tree(seed: int, num_nodes: int = 40) -> SearchTree:
    """A tree of any shape whose terminals are leaves, a third of them right."""
    rng = random.Random(seed)
    tree = SearchTree(PROBLEM)
    for index in range(num_nodes):
        parent = rng.choice([node for node in range(len(tree.nodes)) if not tree.nodes[node].is_terminal])
        if parent and rng.random() < 0.4:
            step = f"{stop(rng.choice([10, 10, 7, 8, 9, 11]))}\n"
        else:
            step = f"+{index} = {100 + index}\n"
        if any(tree.nodes[child].step == step for child in tree.nodes[parent].children):
            continue
        node = tree.add(Node(parent, NodeOrigin.EXPANSION, step, visits=rng.randrange(3), value=rng.random()))
        if step.startswith("stop"):
            tree.nodes[node].grade = SUMS.grade(PROBLEM, step)
    return tree


def said(text: str, logprob: float = -1.0, num_tokens: int = 2) -> Completion:
    return Completion(text, np.zeros(num_tokens, np.int32), logprob=logprob)


def answer(search: TreeSearch, call: Call, texts: Sequence[str]) -> Reply:
    """A reply that says `texts`, graded by the task."""
    completions = tuple(map(said, texts))
    return Reply(completions, {i: SUMS.grade(PROBLEM, t) for i, t in search.to_grade(call, completions).items()})


class Wanderer:
    """A policy that adds random numbers and stops from 8 on; what it says depends on its seed and the call's index."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def step(self, steps: Sequence[str], rng: random.Random) -> str:
        number = int(steps[-1].split("= ")[1]) if steps else 0
        if number >= 8:
            return f"{stop(number)}\n"
        add = rng.randint(1, 5)
        return f"+{add} = {number + add}\n"

    def __call__(self, search: TreeSearch, call: Call) -> Reply:
        texts, rng = [], random.Random(f"{self.seed}/{call.index}")
        for _ in range(call.num_samples):
            steps = search.tree.steps(call.node)
            begun = len(steps)
            while len(steps) == begun or (call.kind is CallKind.EVALUATE and not steps[-1].startswith("stop")):
                steps.append(self.step(steps, rng))
            texts.append("".join(steps[begun:]))
        return answer(search, call, texts)


def searched(settings: SearchSettings, seed: int = 0) -> tuple[TreeSearch, list[tuple[Call, Reply]]]:
    """A finished search by a Wanderer, and its log."""
    search, policy, log = TreeSearch(SearchTree(PROBLEM), SUMS, settings), Wanderer(seed), []
    while (call := search.next_call()) is not None:
        log.append((call, policy(search, call)))
        search.feed(*log[-1])
    return search, log
