"""What a search asks of the inference service, without the search: proposals and rollouts along branches of many trees.

A tree asks two things of each node it expands: `NUM_ACTIONS` next steps (to the task's stop string, with
log-probabilities) and `NUM_ROLLOUTS` rollouts (to the end). The prompts of a node's children extend its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrograde.core.policy import Prompt, Sampling
from retrograde.core.problem import Problem
from retrograde.tasks.countdown import TASK as COUNTDOWN
from retrograde.tasks.countdown import after, moves, step_text
from retrograde.tasks.task import Task
from retrograde.tasks.word_problems import TASK as WORD_PROBLEMS

NUM_ACTIONS = 8
NUM_ROLLOUTS = 16
NODES_PER_TREE = 4
WORD_FILE = Path(__file__).resolve().parents[1] / "recipes/data/word_problems.jsonl"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: a prompt, and how it is continued."""

    prompt: Prompt
    sampling: Sampling

    @property
    def num_sequences(self) -> int:
        """Completions asked for."""
        return self.sampling.n


def countdown_requests(seed: int, num_trees: int) -> list[Asked]:
    """Trees over problems of four numbers: the root, and branches of one and of two steps."""
    options = {"num_numbers": 4, "count": num_trees, "target": [10, 100]}
    source = random.Random(seed)
    asked: list[Asked] = []
    for problem in COUNTDOWN.problems(options, "search", seed):
        for begun in _walks(problem, source):
            asked += _node(COUNTDOWN, problem, begun, source, max_step=24, max_rollout=64)
    source.shuffle(asked)
    return asked


def _walks(problem: Problem, source: random.Random) -> Iterator[str]:
    """The empty beginning, then legal ones of a solution, each a step longer than an earlier one."""
    start, target = map(_numbers, problem.statement.split("target:"))
    begun, state = "", start
    yield begun
    for _ in range(1, NODES_PER_TREE):
        if len(state) < 3:  # noqa: PLR2004 - its next step would be the last: begin another branch
            begun, state = "", start
        a, operator, b, result = source.choice(list(moves(state)))
        state = after(state, a, b, result) or start
        begun += step_text(a, operator, b, result, state, target[0])
        yield begun


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


def word_requests(seed: int, num_trees: int) -> list[Asked]:
    """Trees over word problems: the root, and branches of one step that combine two of the story's numbers."""
    source = random.Random(seed)
    problems = WORD_PROBLEMS.problems({"file": str(WORD_FILE)}, "search", seed)
    asked: list[Asked] = []
    for problem in source.sample(problems, num_trees):
        first, second, *_ = (*_numbers(problem.statement), 2, 3)
        sums = (f"{first} + {second} = {first + second}\n", f"{first} * {second} = {first * second}\n")
        for begun in ("", *sums):
            asked += _node(WORD_PROBLEMS, problem, begun, source, max_step=24, max_rollout=48)
    source.shuffle(asked)
    return asked


def _node(
    task: Task, problem: Problem, begun: str, source: random.Random, *, max_step: int, max_rollout: int
) -> Iterator[Asked]:
    prompt = Prompt(task.prompt(problem), chat=task.chat, begun=begun)
    yield Asked(
        prompt, Sampling(NUM_ACTIONS, max_tokens=max_step, stop=task.stop, seed=source.getrandbits(32), logprobs=True)
    )
    yield Asked(prompt, Sampling(NUM_ROLLOUTS, max_tokens=max_rollout, seed=source.getrandbits(32)))
