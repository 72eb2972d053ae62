"""Samples an arm on held-out problems and grades every sample: `evaluations/<arm>.jsonl`, one line per sample."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from retrograde.core.policy import Completion, Prompt, Sampling
from retrograde.core.problem import Cost, Grade, Problem, Verdict
from retrograde.core.settings import RlSettings
from retrograde.runtime.blocking import in_thread
from retrograde.tasks.task import Task, load_task
from retrograde.v1 import tree_pb2
from services.trainer.stages.search import serve
from services.trainer.stages.stage import (
    Progress,
    RunContext,
    json_lines,
    problems_from_bytes,
    problems_to_bytes,
    read_json_lines,
)

_EVERY_RATE = (0.0, 1.0)
_SAMPLES_PER_REQUEST = 64  # the inference service takes 256 at most by default


class EvaluateStage:
    """Scores checkpoint `arm` on the evaluation split."""

    unit = "problems"

    def __init__(self, arm: str) -> None:
        self.arm = self.serves = arm
        self.name = f"evaluate {arm}"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await serve(context, self.arm)
        return await sample_and_grade(context, self.arm, "evaluate", context.recipe.evaluate.num_samples, progress)


class BestOfNStage:
    """The base policy with as many samples per problem as the search spent tokens on one."""

    name = "evaluate best_of_n"
    unit = "problems"
    serves = "base"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        await serve(context, "base")
        num_samples = await in_thread(samples_for_equal_tokens, context)
        return await sample_and_grade(context, "best_of_n", "evaluate", num_samples, progress)


class BandStage:
    """Keeps the RL prompts whose pass rate under the base lies in the recipe's band: `problems/rl_band.jsonl`."""

    name = "rl prompts"
    unit = "problems"

    def __init__(self, settings: RlSettings) -> None:
        self._settings = settings
        self.serves = "" if settings.pass_rate_band == _EVERY_RATE else "base"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        problems = problems_from_bytes(await in_thread(context.store.get, context.key("problems/rl.jsonl")))
        cost = Cost()
        low, high = self._settings.pass_rate_band
        if self.serves:
            await serve(context, self.serves)
            cost = await sample_and_grade(context, "rl_band", "rl", self._settings.group_size, progress)
            rates = await in_thread(_pass_rates, context, "rl_band")
            problems = [problem for problem in problems if low <= rates.get(problem.id, -1.0) <= high]
        data = problems_to_bytes(problems)
        await in_thread(context.store.put, context.key("problems/rl_band.jsonl"), data)
        await progress(len(problems), len(problems), f"pass rate in [{low:g}, {high:g}]")
        return cost


def samples_for_equal_tokens(context: RunContext) -> int:
    """How many base samples cost as many generated tokens as one search tree of this run did (at least one)."""
    keys = [key for key in context.store.list(context.key("trees", "")) if key.endswith(".pb")]
    trees = [tree_pb2.SearchTree.FromString(context.store.get(key)) for key in keys]
    searched = sum(tree.provenance.cost.generated_tokens for tree in trees) / max(1, len(trees))
    rows = read_json_lines(context.store.get(context.key("evaluations/base.jsonl")))
    sampled = sum(int(str(row["num_tokens"])) for row in rows) / len(rows)
    return max(1, round(searched / sampled))


async def sample_and_grade(context: RunContext, arm: str, split: str, num_samples: int, progress: Progress) -> Cost:
    """Draws and grades `num_samples` per problem of `split`; stores the rows once all are there."""
    key = context.key(f"evaluations/{arm}.jsonl")
    cost = Cost()
    problems = problems_from_bytes(await in_thread(context.store.get, context.key(f"problems/{split}.jsonl")))
    slots = asyncio.Semaphore(context.settings.evaluation_requests)
    tasks = [asyncio.create_task(_one_problem(context, problem, num_samples, slots, cost)) for problem in problems]
    try:
        for done, finished in enumerate(asyncio.as_completed(tasks), start=1):
            await finished
            await progress(done, len(tasks), f"{num_samples} samples each")
    finally:
        for task in tasks:
            task.cancel()
    rows = [row for task in tasks for row in task.result()]
    await in_thread(context.store.put, key, json_lines(rows))
    return cost


async def _one_problem(
    context: RunContext, problem: Problem, num_samples: int, slots: asyncio.Semaphore, cost: Cost
) -> list[dict[str, object]]:
    task = load_task(problem.task)
    settings = context.recipe.evaluate
    prompt = Prompt(task.prompt(problem), chat=task.chat)
    completions: list[Completion] = []
    async with slots:
        while num_left := num_samples - len(completions):
            n = min(num_left, _SAMPLES_PER_REQUEST)
            sampling = Sampling(n=n, temperature=settings.temperature, max_tokens=settings.max_tokens)
            generation = await context.policy.generate(prompt, sampling)
            completions += generation.completions
            cost.prompt_tokens += len(generation.prompt_token_ids)
            cost.accelerator_seconds += generation.engine_seconds
        grades = await context.verifier.verify([(problem, completion.text) for completion in completions])
    cost.generated_tokens += sum(completion.num_tokens for completion in completions)
    cost.verifier_calls += len(completions)
    return evaluation_rows(task, problem, completions, grades)


def evaluation_rows(
    task: Task, problem: Problem, completions: Sequence[Completion], grades: Sequence[Grade]
) -> list[dict[str, object]]:
    """One row per sample."""
    rows: list[dict[str, object]] = []
    for sample, (completion, grade) in enumerate(zip(completions, grades, strict=True)):
        backtracks, valid_backtracks = task.returns(problem, completion.text)
        rows.append(
            {
                "problem_id": problem.id,
                "task": problem.task,
                "sample": sample,
                "verdict": grade.verdict.value,
                "answer": grade.answer,
                "num_tokens": completion.num_tokens,
                "finish_reason": completion.finish_reason,
                "backtracks": backtracks,
                "valid_backtracks": valid_backtracks,
                "text": completion.text,
            }
        )
    return rows


def _pass_rates(context: RunContext, arm: str) -> dict[str, float]:
    verdicts: dict[str, list[bool]] = {}
    for line in filter(None, context.store.get(context.key(f"evaluations/{arm}.jsonl")).decode().split("\n")):
        row = json.loads(line)
        verdicts.setdefault(row["problem_id"], []).append(row["verdict"] == Verdict.CORRECT.value)
    return {problem_id: sum(right) / len(right) for problem_id, right in verdicts.items()}
