"""However many samples of a problem are asked for, the inference service is asked for few at a time."""

from __future__ import annotations

from typing import Any

import pytest

from retrograde.core.policy import Generation, Prompt, Sampling
from services.trainer.settings import TrainerSettings
from services.trainer.stages.evaluate import sample_and_grade
from services.trainer.stages.stage import RunContext, problems_to_bytes, read_json_lines
from tests.unit.search.search_fakes import RECIPE, MemoryStore, ScriptedPolicy, TaskVerifier, problems

SETTINGS = TrainerSettings(inference="127.0.0.1:1", verifier="127.0.0.1:2", rollouts="127.0.0.1:3", work_dir="/nowhere")


class Policy(ScriptedPolicy):
    """Keeps how many samples each request asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []

    async def generate(
        self, prompt: Prompt, sampling: Sampling, *, key: str = "", policy_version: int = 0
    ) -> Generation:
        self.counts.append(sampling.n)
        return await super().generate(prompt, sampling, key=key, policy_version=policy_version)


@pytest.mark.parametrize(("num_samples", "counts"), [(3, [3]), (64, [64]), (300, [64, 64, 64, 64, 44])])
async def test_samples_are_drawn_in_requests_of_64(num_samples: int, counts: list[int]) -> None:
    """All are graded together and stored in order; every request's prompt is paid for."""
    store, other = MemoryStore(), None
    policy: Any = Policy()
    verifier: Any = TaskVerifier()
    ports: Any = other
    store.put("runs/r/problems/evaluate.jsonl", problems_to_bytes(problems(1)))
    context = RunContext("r", RECIPE, SETTINGS, store, ports, policy, verifier, ports)

    async def progress(_done: int, _total: int, _detail: str) -> None:
        """Nobody looks."""

    cost = await sample_and_grade(context, "base", "evaluate", num_samples, progress)
    rows = read_json_lines(store.get("runs/r/evaluations/base.jsonl"))
    assert (policy.counts, verifier.sizes) == (counts, [num_samples])
    assert [row["sample"] for row in rows] == list(range(num_samples))
    assert (cost.prompt_tokens, cost.verifier_calls) == (10 * len(counts), num_samples)
