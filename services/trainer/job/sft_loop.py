"""Supervised fine-tuning: dataset in, checkpoint out.

    fetch weights -> tokenise -> restore the last save
    [ micro-batches -> AdamW -> metrics -> perhaps a save ]*
    -> export

The paper's: full fine-tune, one epoch, AdamW, cosine to zero, loss on all tokens (section on training).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from transformers import AutoTokenizer

from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from services.trainer.job import losses
from services.trainer.job.batches import Example, MicroBatch, collate, deal, micro_batches, step_indices
from services.trainer.job.checkpoints import Saves, export, fetch
from services.trainer.job.data import Dataset, build_dataset, read_rows
from services.trainer.job.learner import Learner, build_learner
from services.trainer.job.metrics import StepMetrics
from services.trainer.job.ranks import joined
from services.trainer.job.schedule import Schedule, schedule
from services.trainer.job.settings import SftJobSettings

log = get_logger(__name__)


def train(settings: SftJobSettings, store: ObjectStore) -> None:
    """Trains from `init_checkpoint` on the dataset and stores the result at `output_key`."""
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(settings.engine))
        start = fetch(store, settings.init_checkpoint, settings.work_dir / "init", ranks)
        dataset = load_dataset(settings, store, AutoTokenizer.from_pretrained(start, local_files_only=True))
        torch.manual_seed(settings.seed)
        learner = build_learner(start, settings.engine, settings.sft.weight_decay, ranks)
        saves = Saves(store, settings.job_key, settings.work_dir, ranks, settings.fingerprint)
        metrics = stack.enter_context(StepMetrics.of_rank(ranks, store, settings))
        plan = schedule(len(dataset.examples), settings.sft)
        step, _ = saves.restore(learner)
        log.info("sft starts", rank=ranks.rank, step=step, num_steps=plan.num_steps, num_too_long=dataset.num_too_long)
        while step < plan.num_steps:
            values = take_step(learner, dataset.examples, settings, plan, step)
            step += 1
            metrics.write(step, values)
            if step % settings.sft.save_every == 0 and step < plan.num_steps:
                saves.save(learner, step, {})
        finish(settings, store, learner, dataset, step)
        saves.clear()


def load_dataset(settings: SftJobSettings, store: ObjectStore, tokenizer: object) -> Dataset:
    """The examples at `dataset_key`."""
    rows = read_rows(store.get(settings.dataset_key), settings.dataset_key)
    return build_dataset(tokenizer, rows, settings.sft.loss_on, settings.sft.max_tokens)


def take_step(
    learner: Learner, examples: Sequence[Example], settings: SftJobSettings, plan: Schedule, step: int
) -> Mapping[str, float]:
    """One optimiser step on its batch; returns its metrics."""
    began, sft, ranks = time.monotonic(), settings.sft, learner.ranks
    torch.manual_seed(settings.seed * 1_000_003 + step)  # dropout, where a model has any, is the same after a resume
    indices = step_indices(len(examples), sft.batch_size, settings.seed, step)
    total = max(1.0, sum(examples[i].num_trained for i in indices))
    groups = micro_batches([len(example.tokens) for example in examples], indices, sft.micro_batch_tokens)
    sums = torch.zeros(2, dtype=torch.float64)
    for group in deal(groups, ranks.rank, ranks.world_size):
        sums += accumulate(learner, collate([examples[i] for i in group], ranks.device), total)
    loss, accuracy = ranks.sum(sums)
    rate = plan.learning_rate(step)
    norm = learner.step(rate)
    return {
        "loss": loss,
        "mean_token_accuracy": accuracy,
        "learning_rate": rate,
        "grad_norm": norm,
        "num_steps": plan.num_steps,
        "num_tokens": sum(len(examples[i].tokens) for i in indices),
        "epoch": (step + 1) * sft.num_epochs / plan.num_steps,
        "step_seconds": time.monotonic() - began,
    }


def accumulate(learner: Learner, batch: MicroBatch, total: float) -> torch.Tensor:
    """Adds one micro-batch's gradient; returns its shares of the step's (mean loss, mean accuracy), float64 [2]."""
    logits = learner.logits(batch.tokens)
    loss = -(losses.token_logprobs(logits, batch.tokens) * batch.weights).sum() / total
    learner.accumulate(loss)
    hits = (losses.token_hits(logits.detach(), batch.tokens) * batch.weights).sum() / total
    return torch.stack([loss.detach(), hits]).double().cpu()


def finish(settings: SftJobSettings, store: ObjectStore, learner: Learner, dataset: Dataset, step: int) -> None:
    """Stores the checkpoint, manifest last."""
    folder = settings.work_dir / "output"
    provenance = {
        "job_key": settings.job_key,
        "parent_keys": [settings.init_checkpoint, settings.dataset_key],
        "fingerprint": settings.fingerprint,
        "seed": settings.seed,
        "num_steps": step,
        "num_examples": len(dataset.examples),
        "num_too_long": dataset.num_too_long,
        "num_tokens": settings.sft.num_epochs * sum(len(example.tokens) for example in dataset.examples),
    }
    export(learner, settings.work_dir / "init", folder, provenance)
    if learner.ranks.is_first:
        store.upload(settings.output_key, folder)
        log.info("sft ends", output_key=settings.output_key, num_steps=step)
    learner.ranks.barrier()
