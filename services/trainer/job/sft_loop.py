"""Supervised fine-tuning: dataset in, checkpoint out.

    fetch weights -> tokenise -> restore the last save
    [ micro-batches -> AdamW -> perhaps an evaluation -> metrics -> perhaps a save ]*
    -> export

The paper's: full fine-tune, one epoch, AdamW, cosine to zero, loss on all tokens (section on training). What a step is
trained on follows from the seed and the step's number alone, so a job that begins at a save goes on as if nothing had
been.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from transformers import AutoTokenizer

from retrograde.runtime import spans
from retrograde.runtime.errors import InvalidInputError
from retrograde.runtime.logs import get_logger
from retrograde.runtime.objects import ObjectStore
from services.trainer.job import losses
from services.trainer.job.batches import Example, deal, step_indices
from services.trainer.job.checkpoints import Saves, export, fetch
from services.trainer.job.data import Dataset, build_dataset
from services.trainer.job.learner import Learner, build_learner
from services.trainer.job.metrics import StepMetrics
from services.trainer.job.packing import Layout, Rows, collate_rows, lay_out, padding_share
from services.trainer.job.ranks import Ranks, joined
from services.trainer.job.rows import held_out, read_rows
from services.trainer.job.schedule import Schedule, schedule
from services.trainer.job.settings import SftJobSettings

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """What is trained on, and what is held out (perhaps nothing)."""

    train: Dataset
    evaluation: Dataset


def train(settings: SftJobSettings, store: ObjectStore) -> None:
    """Trains from `init_checkpoint` on the dataset and stores the result at `output_key`."""
    with joined(settings.engine) as ranks:
        train_on(ranks, settings, store)


def train_on(ranks: Ranks, settings: SftJobSettings, store: ObjectStore) -> None:
    """See train; all ranks call it."""
    with ExitStack() as stack:
        start = fetch(store, settings.init_checkpoint, settings.work_dir / "init", ranks)
        data = load_data(settings, store, AutoTokenizer.from_pretrained(start, local_files_only=True))
        torch.manual_seed(settings.seed)
        learner = build_learner(start, settings.engine, settings.sft.weight_decay, ranks)
        if settings.sft.packing != "off":
            require_separate_examples(learner)
        saves = Saves(store, settings.job_key, settings.work_dir, ranks, settings.fingerprint)
        metrics = stack.enter_context(StepMetrics.of_rank(ranks, store, settings))
        plan = schedule(len(data.train.examples), settings.sft)
        step, _ = saves.restore(learner)
        log.info("sft starts", rank=ranks.rank, step=step, num_steps=plan.num_steps, **_counts(data))
        while step < plan.num_steps:
            with spans.record("step", about={"retrograde.step": step + 1}):
                values = take_step(learner, data.train.examples, settings, plan, step)
            step += 1
            if data.evaluation.examples and (step % settings.sft.eval_every == 0 or step == plan.num_steps):
                with spans.record("evaluate", about={"retrograde.step": step}):
                    values = {**values, **evaluate(learner, data.evaluation.examples, settings)}
            metrics.write(step, values)
            if step % settings.sft.save_every == 0 and step < plan.num_steps:
                with spans.record("save", about={"retrograde.step": step}):
                    saves.save(learner, step, {})
        finish(settings, store, learner, data, step)
        saves.clear()


def load_data(settings: SftJobSettings, store: ObjectStore, tokenizer: object) -> Data:
    """The examples at `dataset_key`, and those held out of them or at `eval_dataset_key`."""
    sft = settings.sft
    rows = list(read_rows(store.get(settings.dataset_key), settings.dataset_key))
    rows, apart = held_out(rows, sft.eval_share, settings.seed)
    if settings.eval_dataset_key:
        apart = list(read_rows(store.get(settings.eval_dataset_key), settings.eval_dataset_key))
    evaluation = build_dataset(tokenizer, iter(apart), sft.loss_on, sft.max_tokens) if apart else Dataset((), 0)
    return Data(build_dataset(tokenizer, iter(rows), sft.loss_on, sft.max_tokens), evaluation)


def require_separate_examples(learner: Learner) -> None:
    """Raises InvalidInputError where a packed example sees the one before it: not every model can be packed."""
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]], device=learner.ranks.device)
    after = [0, 1, 0, 1]
    with learner.at_rest():
        seen = [
            learner.logits(torch.tensor([[*before, *after]], device=learner.ranks.device), positions)[0, 4:]
            for before in ([0, 0, 0, 0], [1, 0, 1, 1])
        ]
    if not torch.equal(*seen):
        raise InvalidInputError("sft.packing: this model lets packed examples see each other; set packing: off")


def take_step(
    learner: Learner, examples: Sequence[Example], settings: SftJobSettings, plan: Schedule, step: int
) -> Mapping[str, float]:
    """One optimiser step on its batch; returns its metrics."""
    began, sft, ranks = time.monotonic(), settings.sft, learner.ranks
    torch.manual_seed(settings.seed * 1_000_003 + step)  # dropout, where a model has any, is the same after a resume
    indices = step_indices(len(examples), sft.batch_size, settings.seed, step)
    total = max(1.0, sum(examples[i].num_trained for i in indices))
    lengths = [len(example.tokens) for example in examples]
    layout = _layout(lengths, indices, settings)
    sums = torch.zeros(2, dtype=torch.float64)
    for rows in deal(layout, ranks.rank, ranks.world_size):
        sums += accumulate(learner, _collate(rows, examples, learner), total)
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
        "padding_share": padding_share(lengths, layout),
        "epoch": (step + 1) * sft.num_epochs / plan.num_steps,
        "step_seconds": time.monotonic() - began,
    }


def accumulate(learner: Learner, batch: Rows, total: float) -> torch.Tensor:
    """Adds one micro-batch's gradient; returns its shares of the step's (mean loss, mean accuracy), float64 [2]."""
    loss, hits = forward(learner, batch)
    learner.accumulate(loss / total)
    return torch.stack([loss.detach(), hits]).double().cpu() / total


def forward(learner: Learner, batch: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Over the tokens that carry loss: the sum of their negative log-probabilities, and how many were likeliest."""
    logits = learner.logits(batch.tokens, batch.positions)
    loss = -(losses.token_logprobs(logits, batch.tokens) * batch.weights).sum()
    return loss, (losses.token_hits(logits.detach(), batch.tokens) * batch.weights).sum()


def evaluate(learner: Learner, examples: Sequence[Example], settings: SftJobSettings) -> Mapping[str, float]:
    """Mean loss and accuracy over all tokens of `examples` that carry loss, under TRL's names."""
    began, ranks, size = time.monotonic(), learner.ranks, settings.sft.batch_size
    lengths = [len(example.tokens) for example in examples]
    sums = torch.zeros(2, dtype=torch.float64)
    with learner.at_rest():
        for start in range(0, len(examples), size):
            indices = range(start, min(start + size, len(examples)))
            for rows in deal(_layout(lengths, indices, settings), ranks.rank, ranks.world_size):
                sums += torch.stack(forward(learner, _collate(rows, examples, learner))).double().cpu()
    total = max(1.0, sum(example.num_trained for example in examples))
    loss, accuracy = (value / total for value in ranks.sum(sums))
    return {"eval_loss": loss, "eval_mean_token_accuracy": accuracy, "eval_runtime": time.monotonic() - began}


def _layout(lengths: Sequence[int], indices: Sequence[int], settings: SftJobSettings) -> Layout:
    sft, in_one_row = settings.sft, settings.engine.attention == "flash_attention_2"
    return lay_out(lengths, indices, sft.micro_batch_tokens, sft.packing, in_one_row=in_one_row)


def _collate(rows: Sequence[Sequence[int]], examples: Sequence[Example], learner: Learner) -> Rows:
    return collate_rows([[examples[i] for i in row] for row in rows], learner.ranks.device)


def _counts(data: Data) -> dict[str, int]:
    return {
        "num_examples": len(data.train.examples),
        "num_held_out": len(data.evaluation.examples),
        "num_too_long": data.train.num_too_long,
    }


def finish(settings: SftJobSettings, store: ObjectStore, learner: Learner, data: Data, step: int) -> None:
    """Stores the checkpoint, manifest last."""
    folder = settings.work_dir / "output"
    provenance = {
        "job_key": settings.job_key,
        "parent_keys": [settings.init_checkpoint, settings.dataset_key],
        "fingerprint": settings.fingerprint,
        "seed": settings.seed,
        "num_steps": step,
        **_counts(data),
        "num_tokens": settings.sft.num_epochs * sum(len(example.tokens) for example in data.train.examples),
    }
    export(learner, settings.work_dir / "init", folder, provenance)
    if learner.ranks.is_first:
        store.upload(settings.output_key, folder)
        log.info("sft ends", output_key=settings.output_key, num_steps=step)
    learner.ranks.barrier()
