"""GRPO's step: against its longer part (or the sum of its parts), and against TRL's on the same batch.

`grpo-step-overlapped` and `grpo-step-in-turn` run a whole job, DeepSpeed and publishing to the store included;
generation takes a fixed time on nobody's core. The first step has nothing to overlap with and is left out. `grpo-trl`
is one optimiser step, from the given completions to the new weights, in one process and one thread, in fp32: the same
weights, the same tokens, at most as many padded tokens in a micro-batch, AdamW. What differs: ours sorts by length and
pads each micro-batch to its own longest, TRL pads prompts and completions to the longest of the whole batch; ours runs
in DeepSpeed's engine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import Arms, Bench, Direction
from retrograde.runtime.adapters import open_store

ROOT = Path(__file__).parents[1]
PULL_SECONDS = 2.0
NUM_STEPS = 5
GROUP_SIZE, NUM_GROUPS, MAX_TOKENS = 8, 6, 128
SEQUENCES_PER_PASS = 12
SHAPE = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}


@dataclass
class Runs:
    """The steps of one job after another, each under a name of its own; `combine` says what is the ideal of a step."""

    folder: Path
    max_policy_lag: int
    combine: Callable[[float, float], float]
    steps: list[dict[str, float]] = field(default_factory=list)

    def prepare(self, repetition: int) -> None:
        """Runs the job."""
        config = self.folder / f"{repetition}.yaml"
        config.write_text(yaml.safe_dump(self._settings(str(repetition))))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'libs'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", "benchmarks.grpo_job", "--config", str(config)]
        with config.with_suffix(".log").open("wb") as log:
            subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
        store = open_store(f"file://{self.folder}/store")
        self.steps = [json.loads(store.get(key)) for key in store.list(f"{repetition}/job/steps/")][1:]

    def measured(self) -> float:
        """Seconds of a step."""
        return self._median("step_seconds")

    def ideal(self) -> float:
        """Of its longer part, or of both."""
        return self.combine(self._median("generate_seconds"), self._median("train_seconds"))

    def note(self) -> str:
        """The parts of the last run."""
        return f"generate {self._median('generate_seconds'):.2f} s, train {self._median('train_seconds'):.2f} s"

    def _median(self, name: str) -> float:
        return statistics.median(step[name] for step in self.steps)

    def _settings(self, name: str) -> dict[str, object]:
        return {
            "store": f"file://{self.folder}/store",
            "init_checkpoint": "init",
            "output_key": f"{name}/out",
            "job_key": f"{name}/job",
            "policies_key": f"{name}/policies",
            "work_dir": str(self.folder / name),
            "engine": {"device": "cpu"},
            "prompts_key": "none",
            "rollouts": "none:1",
            "feed": f"feed@{PULL_SECONDS}",
            "rl": {"num_steps": NUM_STEPS, "save_every": 100, "max_policy_lag": self.max_policy_lag} | _batch(),
        }


def _batch() -> dict[str, object]:
    return {
        "prompts_per_step": NUM_GROUPS,
        "group_size": GROUP_SIZE,
        "max_tokens": MAX_TOKENS,
        "micro_batch_tokens": _pass_tokens(),
        "learning_rate": 1e-4,
    }


def _pass_tokens() -> int:
    """At most, with padding."""
    return SEQUENCES_PER_PASS * (MAX_TOKENS + _prompt_tokens())


def _prompt_tokens() -> int:
    from benchmarks.grpo_job import PROMPT_TOKENS  # noqa: PLC0415 - imports torch

    return PROMPT_TOKENS


def _write_model(folder: Path) -> None:
    """A random Llama with a tokenizer of numbers, as a Hugging Face directory."""
    import torch  # noqa: PLC0415
    from tokenizers import Tokenizer, models  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

    from benchmarks.grpo_job import VOCABULARY  # noqa: PLC0415

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=512, eos_token_id=0, **SHAPE)
    LlamaForCausalLM(config).save_pretrained(folder)
    words = models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0")  # noqa: S106 - a word
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="0").save_pretrained(folder)  # noqa: S106


@contextmanager
def _job_arms(max_policy_lag: int, combine: Callable[[float, float], float]) -> Iterator[Arms]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_model(folder / "init")
        open_store(f"file://{folder}/store").upload("init", folder / "init")
        runs = Runs(folder, max_policy_lag, combine)
        yield Arms(runs.measured, runs.ideal, runs.prepare, runs.note)


@contextmanager
def _trl_arms() -> Iterator[Arms]:
    from benchmarks.grpo_job import random_groups  # noqa: PLC0415

    groups = random_groups(NUM_GROUPS, GROUP_SIZE, MAX_TOKENS)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(scratch)
        _write_model(folder)
        with _our_step(folder, groups) as ours:
            yield Arms(_timed(ours), _timed(_trl_step(folder, groups)), note=partial(_padding, groups))


def _timed(step: Callable[[], None]) -> Callable[[], float]:
    def seconds() -> float:
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    return seconds


@contextmanager
def _our_step(folder: Path, groups: list[Any]) -> Iterator[Callable[[], None]]:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from retrograde.core.settings import EngineSettings, RlSettings  # noqa: PLC0415
    from services.trainer.job.grpo_step import Trainee, take_step  # noqa: PLC0415
    from services.trainer.job.learner import build_learner  # noqa: PLC0415
    from services.trainer.job.ranks import joined  # noqa: PLC0415

    engine = EngineSettings(device="cpu")
    with joined(engine) as ranks:
        learner = build_learner(folder, engine, weight_decay=0.0, ranks=ranks)
        trainee = Trainee(learner, None, ranks, RlSettings.model_validate(_batch()), seed=0)

        def step() -> None:
            take_step(trainee, groups, step=0)

        yield step


def _trl_step(folder: Path, groups: list[Any]) -> Callable[[], None]:
    """TRL's own code from given completions to gradients, then AdamW."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    import torch  # noqa: PLC0415
    from datasets import Dataset  # noqa: PLC0415
    from trl import GRPOConfig, GRPOTrainer  # noqa: PLC0415

    num_samples = NUM_GROUPS * GROUP_SIZE
    num_passes = num_samples // SEQUENCES_PER_PASS
    trainer = GRPOTrainer(
        model=str(folder),
        reward_funcs=lambda reward, **_: reward,
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=SEQUENCES_PER_PASS,
            gradient_accumulation_steps=num_passes,
            num_generations=GROUP_SIZE,
            max_completion_length=MAX_TOKENS,
            loss_type="dapo",
            scale_rewards="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"prompt": "1"}]),
        rollout_func=lambda *_: _rows(groups),
    )
    trainer.current_gradient_accumulation_steps = num_passes
    trainer.model.train()
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-4, weight_decay=0.0)

    def step() -> None:
        for _ in range(num_passes):
            trainer.training_step(trainer.model, [{"prompt": "1"} for _ in range(num_samples)], None)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _padding(groups: list[Any]) -> str:
    """What the two sides pass through the model for the same samples."""
    from services.trainer.job.batches import micro_batches  # noqa: PLC0415

    completions = [len(sample.token_ids) for group in groups for sample in group.samples]
    lengths = [_prompt_tokens() + length for length in completions]
    plan = micro_batches(lengths, range(len(lengths)), _pass_tokens())
    ours = sum(len(part) * max(lengths[i] for i in part) for part in plan)
    theirs = f"{len(lengths) * max(lengths)} in {len(lengths) // SEQUENCES_PER_PASS}"
    return (
        f"{len(lengths)} samples of {sum(lengths)} tokens, given to both; with padding ours passes {ours} through the "
        f"model in {len(plan)} micro-batches, TRL {theirs}; ours in DeepSpeed's engine, TRL's in none"
    )


def _rows(groups: list[Any]) -> dict[str, list[Any]]:
    rows = [(group, sample) for group in groups for sample in group.samples]
    return {
        "prompt_ids": [group.prompt_token_ids.tolist() for group, _ in rows],
        "completion_ids": [sample.token_ids.tolist() for _, sample in rows],
        "logprobs": [sample.logprobs.tolist() for _, sample in rows],
        "reward": [sample.reward for _, sample in rows],
    }


BENCHES = [
    Bench("grpo-step-overlapped", "s", 1.1, Direction.DOWN, partial(_job_arms, 1, max)),
    Bench("grpo-step-in-turn", "s", 1.1, Direction.DOWN, partial(_job_arms, 0, lambda one, other: one + other)),
    Bench("grpo-trl", "s", 1.0, Direction.DOWN, _trl_arms, num_repetitions=7),
]
