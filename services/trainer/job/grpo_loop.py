"""GRPO with a verifiable reward (paper, section on RL; arXiv 2402.03300): the policy learns from its own samples.

    restore the last save -> publish its weights
    [ pull groups -> advantages -> clipped surrogate over micro-batches -> AdamW -> publish the new weights ]*
    -> export

Who waits for whom: the first rank waits for the feed, the others for its broadcast; the feed samples with the weights
published last, so a step is on-policy but for the engine's arithmetic, which `mismatch_kl` measures. Log-probabilities
on both sides are the model's own, before temperature, as the inference pool reports them. Tokens of the step count
alike (no mean per sequence, which would favour short right and long wrong answers).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retrograde.core.rollout import RolloutGroup
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from services.trainer.job import losses
from services.trainer.job.batches import MicroBatch, collate, deal, micro_batches
from services.trainer.job.checkpoints import NUM_KEPT, Saves, export, fetch
from services.trainer.job.feed import RolloutSource
from services.trainer.job.groups import Ledger, describe, examples_of
from services.trainer.job.learner import Learner, build_learner, load_model
from services.trainer.job.metrics import StepMetrics
from services.trainer.job.outcome import delete_prefix
from services.trainer.job.ranks import Ranks, joined
from services.trainer.job.settings import GrpoJobSettings

log = get_logger(__name__)
_MEANS = ("loss", "kl", "entropy", "clip_ratio/region_mean", "mismatch_kl")


@dataclass(slots=True)
class GrpoJob:
    """What a step needs. `source` and `ledger` are touched by the first rank only."""

    settings: GrpoJobSettings
    store: ObjectStore
    source: RolloutSource
    ledger: Ledger
    learner: Learner
    reference: Any  # the frozen starting policy, or None where the KL weighs nothing
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
        job = _build(settings, store, source, start, ranks)
        saves = Saves(store, settings.job_key, settings.work_dir, ranks, settings.fingerprint)
        metrics = stack.enter_context(StepMetrics.of_rank(ranks, store, settings))
        step, position = saves.restore(job.learner)
        if ranks.is_first:
            job.ledger.restore(dict(position))  # before the feed is opened, which takes the old leases back
            source.open()
        log.info("grpo starts", rank=ranks.rank, step=step, num_steps=settings.rl.num_steps)
        publish(job, step)
        saved = step
        while step < settings.rl.num_steps:
            groups, waited = pull(job)
            if not groups:
                log.warning("the feed ended early", step=step, num_steps=settings.rl.num_steps)
                break
            values = take_step(job, groups)
            step += 1
            publish(job, step)
            metrics.write(step, {**values, "generate_seconds": waited})
            if step % settings.rl.save_every == 0:
                save(job, saves, step)
                saved = step
        if saved < step:
            save(job, saves, step)
        finish(job, step)
        saves.clear()


def _build(settings: GrpoJobSettings, store: ObjectStore, source: RolloutSource, start: Path, ranks: Ranks) -> GrpoJob:
    torch.manual_seed(settings.seed)
    learner = build_learner(start, settings.engine, weight_decay=0.0, ranks=ranks)
    reference = None
    if settings.rl.kl_coefficient > 0:
        dtype = torch.bfloat16 if settings.engine.dtype == "bf16" else torch.float32
        reference = (
            load_model(start, settings.engine, dtype).to(ranks.device).eval().requires_grad_(requires_grad=False)
        )
    return GrpoJob(settings, store, source, Ledger(source), learner, reference)


def pull(job: GrpoJob) -> tuple[list[RolloutGroup], float]:
    """The step's groups, the same on every rank, and the seconds they were waited for."""
    began = time.monotonic()
    groups: list[RolloutGroup] = []
    if job.ranks.is_first:
        groups = job.ledger.pull(job.settings.rl.prompts_per_step, job.policy_version)
    return job.ranks.broadcast(groups), time.monotonic() - began


def take_step(job: GrpoJob, groups: Sequence[RolloutGroup]) -> Mapping[str, float]:
    """One optimiser step on `groups`; returns its metrics. No step is taken where no group can teach."""
    began, rl, ranks = time.monotonic(), job.settings.rl, job.ranks
    examples = examples_of(groups, rl)
    total = max(1.0, sum(example.num_trained for example in examples))
    plan = micro_batches([len(example.tokens) for example in examples], range(len(examples)), rl.micro_batch_tokens)
    sums = torch.zeros(len(_MEANS), dtype=torch.float64)
    for group in deal(plan, ranks.rank, ranks.world_size):
        sums += accumulate(job, collate([examples[i] for i in group], ranks.device), total)
    norm = job.learner.step(rl.learning_rate) if examples else 0.0
    return {
        **describe(groups),
        **dict(zip(_MEANS, ranks.sum(sums), strict=True)),
        "learning_rate": rl.learning_rate,
        "grad_norm": norm,
        "num_trained_samples": len(examples),
        "num_steps": rl.num_steps,
        "policy_version": min(group.policy_version for group in groups),
        "step_seconds": time.monotonic() - began,
    }


def accumulate(job: GrpoJob, batch: MicroBatch, total: float) -> torch.Tensor:
    """Adds one micro-batch's gradient; returns its shares of the step's means (see _MEANS), float64 [5]."""
    rl = job.settings.rl
    logits = job.learner.logits(batch.tokens)
    logprobs = losses.token_logprobs(logits, batch.tokens)
    surrogate = losses.clipped_surrogate(logprobs, batch.sampled, batch.advantages, rl.clip_low, rl.clip_high)
    kl = torch.zeros_like(logprobs) if job.reference is None else _reference_kl(job, batch, logprobs)
    share = batch.weights / total
    loss = ((surrogate.loss + rl.kl_coefficient * kl) * share).sum()
    job.learner.accumulate(loss)
    entropy = losses.token_entropy(logits.detach())
    mismatch = losses.divergence(batch.sampled, logprobs.detach())
    means = [loss.detach(), *((each.detach() * share).sum() for each in (kl, entropy, surrogate.clipped, mismatch))]
    return torch.stack(means).double().cpu()


def _reference_kl(job: GrpoJob, batch: MicroBatch, logprobs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = job.reference(input_ids=batch.tokens, use_cache=False).logits
        reference = losses.token_logprobs(logits, batch.tokens)
    return losses.divergence(logprobs, reference)


def publish(job: GrpoJob, step: int) -> None:
    """Has the feed sample from the weights after `step` from now on; drops weights nobody will load again."""
    settings = job.settings
    key = f"{settings.policies_key}/{step:06d}" if step else settings.init_checkpoint
    if step:
        folder = settings.work_dir / "policy"
        export(job.learner, settings.work_dir / "init", folder, {"job_key": settings.job_key, "num_steps": step})
        if job.ranks.is_first:
            job.store.upload(key, folder)
    if job.ranks.is_first:
        job.policy_version = job.source.publish(key)
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
