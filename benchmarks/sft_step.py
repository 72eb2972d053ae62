"""A step of supervised fine-tuning: ours against TRL's SFTTrainer, and packed against one example to a row.

Both arms live in this process and train the same small Llama of random weights on the same batches of random tokens, in
fp32 on one thread of a CPU. Theirs pads a batch to its longest example, as TRL does when it does not pack.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_callback import TrainerCallback

from benchmarks.bench import Arms
from retrograde.core.settings import EngineSettings, SftSettings
from services.trainer.job.batches import Example
from services.trainer.job.learner import Learner, build_learner
from services.trainer.job.ranks import Ranks, joined
from services.trainer.job.schedule import Schedule
from services.trainer.job.settings import SftJobSettings
from services.trainer.job.sft_loop import take_step

BATCH_SIZE = 16
NUM_STEPS = 4
VOCABULARY = 2048
_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ENGINE = EngineSettings(device="cpu")
SHAPE = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}


def examples() -> list[Example]:
    """Of a long-tailed length, 16 to 256 tokens: loss on all of them."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.0, 0.7, BATCH_SIZE * NUM_STEPS).astype(int), 16, 256)
    return [
        Example(rng.integers(3, VOCABULARY, length).astype(np.int32), np.ones(length, np.float32)) for length in lengths
    ]


def model() -> LlamaForCausalLM:
    """The same weights for every arm."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=512, **SHAPE))


class OurSteps:
    """Seconds a step of ours takes."""

    def __init__(self, checkpoint: Path, ranks: Ranks, packing: str) -> None:
        sft = SftSettings(batch_size=BATCH_SIZE, micro_batch_tokens=4096, packing=packing)  # type: ignore[arg-type]
        keys = dict.fromkeys(("store", "init_checkpoint", "output_key", "job_key", "dataset_key"), "unused")
        self._settings = SftJobSettings(**keys, work_dir=checkpoint, engine=ENGINE, sft=sft)  # type: ignore[arg-type]
        self._learner: Learner = build_learner(checkpoint, ENGINE, 0.0, ranks)
        self._examples = examples()

    def __call__(self) -> float:
        """Mean of NUM_STEPS."""
        torch.use_deterministic_algorithms(mode=True)  # as in a job
        began = time.monotonic()
        for step in range(NUM_STEPS):
            take_step(self._learner, self._examples, self._settings, Schedule(NUM_STEPS, 0, 1e-5), step)
        return (time.monotonic() - began) / NUM_STEPS


class StepTimer(TrainerCallback):  # type: ignore[misc]
    """From the beginning of the first step to the end of the last."""

    began = ended = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002 - the interface
        """Is called by the trainer."""
        self.began = self.began or time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002 - the interface
        """Is called by the trainer."""
        self.ended = time.monotonic()


class TheirSteps:
    """Seconds a step of TRL's takes."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self._folder, self._tokenizer = folder, tokenizer

    def __call__(self) -> float:
        """Mean of NUM_STEPS, without what comes before the first."""
        torch.use_deterministic_algorithms(mode=False)
        with warnings.catch_warnings(), _without_ranks():
            warnings.simplefilter("ignore")
            timer = StepTimer()
            trainer = self._trainer(timer)
            trainer.train()
        return (timer.ended - timer.began) / NUM_STEPS

    def _trainer(self, timer: StepTimer) -> Any:
        from datasets import Dataset, disable_progress_bars  # noqa: PLC0415 - seconds of imports
        from trl import SFTConfig, SFTTrainer  # noqa: PLC0415

        disable_progress_bars()
        arguments = SFTConfig(
            output_dir=str(self._folder),
            per_device_train_batch_size=BATCH_SIZE,
            num_train_epochs=1,
            learning_rate=1e-5,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        rows = Dataset.from_list([{"input_ids": example.tokens.tolist()} for example in examples()])
        return SFTTrainer(model(), arguments, train_dataset=rows, processing_class=self._tokenizer, callbacks=[timer])


@contextlib.contextmanager
def _without_ranks() -> Iterator[None]:
    """Our arm's variables are out of sight: theirs would wrap the model for several ranks."""
    hidden = {name: os.environ.pop(name) for name in _RANKS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models  # noqa: PLC0415

    words = {"<eos>": 0, **{f"w{i}": i for i in range(1, VOCABULARY)}}
    made = Tokenizer(models.WordLevel(words, unk_token="<eos>"))  # noqa: S106 - a word
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")  # noqa: S106


@contextlib.contextmanager
def against_trl(packing: str) -> Iterator[Arms]:
    """Our step under `packing`, and TRL's."""
    with tempfile.TemporaryDirectory() as name:
        ranks, checkpoint = _ranks(), Path(name)
        model().save_pretrained(checkpoint)
        yield Arms(OurSteps(checkpoint, ranks, packing), TheirSteps(checkpoint / "trl", _tokenizer()), note=_note)


@contextlib.contextmanager
def packed_against_padded() -> Iterator[Arms]:
    """Our step, packed and not."""
    with tempfile.TemporaryDirectory() as name:
        ranks, checkpoint = _ranks(), Path(name)
        model().save_pretrained(checkpoint)
        yield Arms(OurSteps(checkpoint, ranks, "best_fit"), OurSteps(checkpoint, ranks, "off"), note=_note)


@functools.cache
def _ranks() -> Ranks:
    """Joined once: DeepSpeed keeps the groups of the first time for the life of the process."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(joined(ENGINE))


def _note() -> str:
    lengths = sorted(len(example.tokens) for example in examples())
    return f"{BATCH_SIZE} examples of {lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}"
