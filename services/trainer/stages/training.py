"""SFT and RL of one arm: a training job, launched and watched. Its checkpoint is `checkpoints/<arm>`."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from retrograde.analysis.job_steps import JobSteps
from retrograde.core.problem import Cost
from retrograde.core.settings import RlSettings
from retrograde.runtime.blocking import in_thread
from retrograde.runtime.errors import InvalidInputError, UnavailableError
from services.trainer.jobs import run_job, settle_job
from services.trainer.launch import Job, JobHandle, JobState, JobStatus
from services.trainer.stages.job_gauges import hide, show
from services.trainer.stages.stage import Progress, RunContext

_LOOK_EVERY_SECONDS = 1.0


class SftJobConfig(BaseModel):
    """What the SFT job reads; the same fields as its own settings, checked there."""

    store: str
    dataset_key: str
    init_checkpoint: str
    output_key: str
    job_key: str
    work_dir: str
    seed: int
    engine: dict[str, object]
    sft: dict[str, object]
    tracking: dict[str, object]
    tracing: dict[str, object]


class GrpoJobConfig(BaseModel):
    """What the GRPO job reads; the same fields as its own settings, checked there."""

    store: str
    rollouts: str
    tls: dict[str, object] | None
    feed: str
    prompts_key: str
    init_checkpoint: str
    output_key: str
    policies_key: str
    job_key: str
    work_dir: str
    seed: int
    engine: dict[str, object]
    rl: dict[str, object]
    tracking: dict[str, object]
    tracing: dict[str, object]


class SftStage:
    """Fine-tunes the base on one training set ("direct" or "astro")."""

    unit = "steps"
    serves = ""

    def __init__(self, data: str) -> None:
        self.data = data
        self.name = f"sft {data}"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        arm = f"{self.data}_sft"
        config = SftJobConfig(
            store=context.settings.store,
            dataset_key=context.key(f"datasets/{self.data}.jsonl"),
            init_checkpoint=context.key("checkpoints/base"),
            output_key=context.key("checkpoints", arm),
            job_key=context.key("jobs", arm),
            work_dir=str(Path(context.settings.work_dir) / context.run_id / arm),
            seed=context.recipe.seed,
            engine=context.recipe.engine.model_dump(mode="json"),
            sft=context.recipe.sft.model_dump(mode="json"),
            tracking=context.settings.tracking.model_dump(mode="json"),
            tracing=context.settings.tracing.model_dump(mode="json"),
        )
        num_processes = context.recipe.sft.num_processes
        job = Job(context.run_id, arm, "services.trainer.job.sft", config, num_processes)
        return await _run_job(context, job, progress)


class RlStage:
    """GRPO on one arm, from its SFT checkpoint."""

    unit = "steps"

    def __init__(self, data: str, settings: RlSettings) -> None:
        self.data = data
        self.settings = settings
        self.serves = f"{data}_rl"  # by and by: nobody else may load weights meanwhile
        self.name = f"rl {data}"

    async def run(self, context: RunContext, progress: Progress) -> Cost:
        """See Stage."""
        if context.recipe.problems.rl is None:
            raise InvalidInputError("problems.rl: an RL arm needs its prompts; name them in the recipe")
        arm = f"{self.data}_rl"
        config = self._config(context, arm)
        job = Job(context.run_id, arm, "services.trainer.job.grpo", config, self.settings.num_processes)
        return await _run_job(context, job, progress, total=self.settings.num_steps)

    def _config(self, context: RunContext, arm: str) -> GrpoJobConfig:
        return GrpoJobConfig(
            store=context.settings.store,
            rollouts=context.settings.rollouts,
            tls=context.settings.tls.model_dump(mode="json") if context.settings.tls else None,
            feed=context.key("feeds", arm),
            prompts_key=context.key("problems/rl_band.jsonl"),
            init_checkpoint=context.key("checkpoints", f"{self.data}_sft"),
            output_key=context.key("checkpoints", arm),
            policies_key=context.key("policies", arm),
            job_key=context.key("jobs", arm),
            work_dir=str(Path(context.settings.work_dir) / context.run_id / arm),
            seed=context.recipe.seed,
            engine=context.recipe.engine.model_dump(mode="json"),
            rl=self.settings.model_dump(mode="json"),
            tracking=context.settings.tracking.model_dump(mode="json"),
            tracing=context.settings.tracing.model_dump(mode="json"),
        )


def publishes(handle: JobHandle) -> bool:
    """Whether it is the job of an RlStage, which has the inference pool serve what it learns."""
    return handle.name.endswith("_rl")


@dataclass(slots=True)
class _Wait:
    """What a job waits for, before its first step and after; "" while it works."""

    words: str = ""

    def see(self, status: JobStatus) -> None:
        """Takes in how the job stands now."""
        is_waiting = status.state is JobState.RUNNING and status.reason
        self.words = f"waiting: {status.reason}" if is_waiting else ""


async def _run_job(context: RunContext, job: Job, progress: Progress, total: int = 0) -> Cost:
    """Launches the job unless its checkpoint is there, and reports its steps meanwhile."""
    wait = _Wait()
    watcher = asyncio.create_task(_report_steps(context, job, progress, total, wait))
    try:
        if await in_thread(context.store.exists, context.key("checkpoints", job.name, "MANIFEST.json")):
            await settle_job(context.backend, job, context.history, wait.see)
        else:
            await run_job(context.backend, job, context.settings.job_attempts, context.history, wait.see)
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        hide(context.run_id, job.name)
    steps = _steps(context, job)
    await in_thread(steps.read)
    await progress(len(steps.values), len(steps.values), steps.figures())
    return steps.cost()


async def _report_steps(context: RunContext, job: Job, progress: Progress, total: int, wait: _Wait) -> None:
    steps = _steps(context, job)
    while True:
        with contextlib.suppress(UnavailableError):  # the next look tells what this one missed
            await in_thread(steps.read)
        show(context.run_id, job.name, steps)
        wanted = int(steps.values[-1].get("num_steps", total)) if steps.values else total
        await progress(len(steps.values), wanted, wait.words or steps.figures() or "starting")
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


def _steps(context: RunContext, job: Job) -> JobSteps:
    return JobSteps(context.store, context.key("jobs", job.name, "steps", ""))
