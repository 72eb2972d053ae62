"""A policy and a judge without a model, for benches of what stands around them.

The policy plays Countdown at random by the call's seed and answers after a fixed time, however many ask at once. What
both compute in this process is added up, so that it can be left out of the coordinator's account.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import numpy as np

from retrograde.core.policy import Completion, Generation, Prompt, Sampling
from retrograde.core.problem import Grade, Problem
from retrograde.tasks.countdown import after, moves, read_statement, step_text
from retrograde.tasks.task import load_task

_TOKEN_IDS = np.arange(64, dtype=np.int32)
_MOST_STEPS = 9


class ScriptedPolicy:
    """`seconds` after it was asked, each question has its answer; `cpu_seconds` went into making them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.cpu_seconds = 0.0

    async def generate(self, prompt: Prompt, sampling: Sampling, **_pin: object) -> Generation:
        """Legal steps, or whole walks where no stop is asked for."""
        await asyncio.sleep(self._seconds)
        began = time.thread_time()
        rng = random.Random(sampling.seed)
        num_steps = 1 if sampling.stop else _MOST_STEPS
        completions = tuple(_completion(prompt, rng, num_steps) for _ in range(sampling.n))
        self.cpu_seconds += time.thread_time() - began
        return Generation(completions, policy_version=1, prompt_token_ids=_TOKEN_IDS)


class InProcessVerifier:
    """Grades at once; `cpu_seconds` went into it."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0

    async def verify(self, items: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """One grade per item, in order."""
        began = time.thread_time()
        grades = [load_task(problem.task).grade(problem, text) for problem, text in items]
        self.cpu_seconds += time.thread_time() - began
        return grades


def _completion(prompt: Prompt, rng: random.Random, num_steps: int) -> Completion:
    state, target = read_statement(prompt.text.partition("\n")[0])
    for line in prompt.begun.splitlines():
        state = tuple(map(int, line.partition("left: ")[2].split()))
    told = ""
    for _ in range(num_steps):
        if len(state) < 2:  # noqa: PLR2004 - a pair is needed for a move
            break
        a, operator, b, result = rng.choice(list(moves(state)))
        state = after(state, a, b, result) or ()
        told += step_text(a, operator, b, result, state, target)
    num_tokens = min(len(told.split()), len(_TOKEN_IDS))
    return Completion(told, _TOKEN_IDS[:num_tokens], logprob=-rng.random())


def problems(count: int) -> list[Problem]:
    """Countdown with four numbers."""
    return load_task("countdown").problems({"num_numbers": 4, "count": count}, "search", seed=1)
