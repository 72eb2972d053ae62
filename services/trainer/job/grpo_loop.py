"""GRPO with a verifiable reward (paper, section on RL; arXiv 2402.03300): the policy learns from its own samples.

    restore the last save -> publish its weights
    [ take groups -> updates (grpo_step.py) -> publish the new weights ]*      groups of later steps come in meanwhile
    -> export

Who waits for whom: the first rank waits for the groups of its step, which a thread pulls up to `max_policy_lag` steps
ahead (ahead.py), the others for its broadcast. Nobody waits for a save's acknowledgement.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retrograde.runtime import spans
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from services.trainer.job.ahead import PullAhead, Pulled
from services.trainer.job.checkpoints import NUM_KEPT, Saves, export, fetch
from services.trainer.job.feed import RolloutSource
from services.trainer.job.groups import Ledger, describe
from services.trainer.job.grpo_step import Trainee, take_step
from services.trainer.job.learner import Learner, build_learner, load_model
from services.trainer.job.metrics import StepMetrics
from services.trainer.job.outcome import delete_prefix
from services.trainer.job.ranks import Ranks, joined
from services.trainer.job.settings import GrpoJobSettings

log = get_logger(__name__)


@dataclass(slots=True)
class GrpoJob:
    """What a step needs. `source`, `ledger` and `ahead` are used by the first rank only."""

    settings: GrpoJobSettings
    store: ObjectStore
    source: RolloutSource
    ledger: Ledger
    ahead: PullAhead
    learner: Learner
    trainee: Trainee
    policy_version: int = 0

    @property
    def ranks(self) -> Ranks:
        """All ranks of the job."""
        return self.learner.ranks


def train(settings: GrpoJobSettings, store: ObjectStore, source: RolloutSource) -> None:
    """Trains from `init_checkpoint` on the groups of `source` and stores the result at `output_key`."""
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(settings.engine))
        start = fetch(store, settings.init_checkpoint, settings.work_dir / "init", ranks)
        learner, trainee = _build(settings, start, ranks)
        saves = Saves(store, settings.job_key, settings.work_dir, ranks, settings.fingerprint)
        metrics = stack.enter_context(StepMetrics.of_rank(ranks, store, settings))
        step, position = saves.restore(learner)
        ledger = Ledger(source)
        if ranks.is_first:
            ledger.restore(dict(position))  # before the feed is opened, which takes the old leases back
            source.open()
        ahead = stack.enter_context(PullAhead(ledger, settings.rl, step))
        job = GrpoJob(settings, store, source, ledger, ahead, learner, trainee)
        log.info("grpo starts", rank=ranks.rank, step=step, num_steps=settings.rl.num_steps)
        step = _run_steps(job, saves, metrics, step)
        finish(job, step)
        saves.clear()


def _run_steps(job: GrpoJob, saves: Saves, metrics: StepMetrics, step: int) -> int:
    """All steps from `step` on, the last one saved; returns how many are done."""
    rl, saved = job.settings.rl, step
    publish(job, step)
    while step < rl.num_steps:
        began = time.monotonic()
        pulled = take(job)
        if not pulled.groups:
            log.warning("the feed ended early", step=step, num_steps=rl.num_steps)
            break
        waited = time.monotonic() - began
        with spans.record("step", about={"retrograde.step": step + 1}):
            values = {**describe(pulled.groups, job.policy_version), **take_step(job.trainee, pulled.groups, step)}
        step += 1
        publish(job, step)
        seconds = {"generate_seconds": pulled.seconds, "wait_seconds": waited, "step_seconds": time.monotonic() - began}
        metrics.write(step, {**values, **seconds})
        if step % rl.save_every == 0:
            save(job, saves, step)
            saved = step
    if saved < step:
        save(job, saves, step)
    return step


def _build(settings: GrpoJobSettings, start: Path, ranks: Ranks) -> tuple[Learner, Trainee]:
    torch.manual_seed(settings.seed)
    learner = build_learner(start, settings.engine, weight_decay=0.0, ranks=ranks)
    reference: Any = None
    if settings.rl.kl_coefficient > 0:
        dtype = torch.bfloat16 if settings.engine.dtype == "bf16" else torch.float32
        reference = (
            load_model(start, settings.engine, dtype).to(ranks.device).eval().requires_grad_(requires_grad=False)
        )
    return learner, Trainee(learner, reference, ranks, settings.rl, settings.seed)


def take(job: GrpoJob) -> Pulled:
    """The next step's groups, the same on every rank."""
    with spans.record("take"):
        return job.ranks.broadcast(job.ahead.take() if job.ranks.is_first else Pulled([], 0.0))


def publish(job: GrpoJob, step: int) -> None:
    """Has the feed sample from the weights after `step` from now on; drops weights nobody will load again."""
    with spans.record("publish", about={"retrograde.step": step}):
        _publish(job, step)


def _publish(job: GrpoJob, step: int) -> None:
    settings = job.settings
    key = f"{settings.policies_key}/{step:06d}" if step else settings.init_checkpoint
    if step:
        folder = settings.work_dir / "policy"
        export(job.learner, settings.work_dir / "init", folder, {"job_key": settings.job_key, "num_steps": step})
        if job.ranks.is_first:
            job.store.upload(key, folder)
    if job.ranks.is_first:
        job.policy_version = job.source.publish(key)
        job.ahead.published(step, job.policy_version)
        _delete_policies(job.store, settings.policies_key, step)


def _delete_policies(store: ObjectStore, prefix: str, step: int) -> None:
    """Keeps the last ones up to `step`; later ones are of a life that was killed."""
    kept = {f"{number:06d}" for number in range(step - NUM_KEPT + 1, step + 1)}
    found = {key.removeprefix(f"{prefix}/").split("/")[0] for key in store.list(f"{prefix}/")}
    for name in sorted(found - kept):
        delete_prefix(store, f"{prefix}/{name}")


def save(job: GrpoJob, saves: Saves, step: int) -> None:
    """Makes everything up to `step` durable, and only then acknowledges its groups."""
    saves.save(job.learner, step, job.ledger.position())
    if job.ranks.is_first:
        job.ledger.covered()


def finish(job: GrpoJob, step: int) -> None:
    """Stores the checkpoint, manifest last."""
    settings, folder = job.settings, job.settings.work_dir / "output"
    provenance = {
        "job_key": settings.job_key,
        "parent_keys": [settings.init_checkpoint, settings.prompts_key],
        "fingerprint": settings.fingerprint,
        "seed": settings.seed,
        "num_steps": step,
        "policy_version": job.policy_version,
    }
    export(job.learner, settings.work_dir / "init", folder, provenance)
    if job.ranks.is_first:
        job.store.upload(settings.output_key, folder)
        log.info("grpo ends", output_key=settings.output_key, num_steps=step)
    job.ranks.barrier()
