"""Our tasks as a task set of verifiers: problems as its tasks, graded by the verifier service.

Answers are graded where a hostile one can be killed, not in the environment's process. An answer without a verdict (a
timeout, an error) is an error of its trace and never a reward. This module needs verifiers when it is imported: a
module that exports RetrogradeTaskset in its `__all__` is a plugin, see examples/verifiers_tasks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import verifiers.v1 as vf

from retrograde.core.problem import Problem
from retrograde.core.rollout import REWARDS
from retrograde.tasks.task import load_task
from retrograde.wire.clients import VerifierClient


class ProblemData(vf.TaskData):
    """A problem; `prompt` is what the policy is asked, `problem` its fields."""

    problem: dict[str, str]


class ProblemConfig(vf.TaskConfig):
    """`verifier` is the address of the verifier service."""

    verifier: str = "127.0.0.1:50052"


class ProblemTask(vf.Task[ProblemData, vf.State, ProblemConfig]):
    """One problem."""

    @property
    def key(self) -> str:
        """The problem's id."""
        return str(self.data.problem["id"])

    @vf.reward
    async def verdict(self, trace: Any) -> float:
        """The reward of the last answer. Raises TaskError when there is no verdict on it."""
        answer = trace.last_reply
        async with VerifierClient(self.config.verifier) as verifier:
            (grade,) = await verifier.verify([(Problem(**self.data.problem), answer)])
        if grade.verdict not in REWARDS:
            raise vf.TaskError(f"problem {self.key}: {grade.verdict.value}: {grade.reason}; it has no reward")
        return REWARDS[grade.verdict]


class ProblemsConfig(vf.TasksetConfig):
    """Which problems: of `source`, a task of ours, with its `options`, those of `split` under `seed`."""

    task: ProblemConfig = ProblemConfig()
    source: str = "countdown"
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    split: str = "rl"
    seed: int = 0


class RetrogradeTaskset(vf.Taskset[ProblemTask, ProblemsConfig]):
    """The problems of one task of ours."""

    def load(self) -> Iterator[ProblemTask]:
        """In the order in which the task gives them."""
        task = load_task(self.config.source)
        for problem in task.problems(self.config.options, self.config.split, self.config.seed):
            data = ProblemData(id=problem.id, prompt=task.prompt(problem), problem=asdict(problem))
            yield ProblemTask(data, self.config.task)
