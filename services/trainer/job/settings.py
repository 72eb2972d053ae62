"""What the two training jobs are told, each from one YAML file; the numbers of the method are core's settings.

Keys are places in the object store; `work_dir` is scratch on the node, safe to lose at any moment.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from retrograde.core.settings import RlSettings, Settings, SftSettings


class EngineSettings(Settings):
    """How DeepSpeed and torch run; changes speed and memory, not the method."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one.")
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="bf16 keeps fp32 master weights in the optimiser.")
    zero_stage: Literal[0, 1, 3] = Field(0, description="DeepSpeed ZeRO: 1 shards the optimiser, 3 the weights too.")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    activation_checkpointing: bool = Field(default=False, description="Recompute activations: slower, much smaller.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient (paper silent: ours).")
    num_threads: int = Field(1, ge=1, description="Torch threads of a rank; bits on CPU depend on it.")


class JobSettings(Settings):
    """What both jobs need."""

    store: str = Field(description="Object store URL, such as file:///data/store.")
    init_checkpoint: str = Field(description="Key prefix of the Hugging Face directory training starts from.")
    output_key: str = Field(description="Key prefix that gets the finished Hugging Face directory.")
    job_key: str = Field(description="Key prefix of the job's own objects: state/ and steps/.")
    work_dir: Path = Field(description="Local scratch of the node.")
    seed: int = 0
    engine: EngineSettings = EngineSettings()
    tensorboard_dir: Path | None = Field(None, description="Also log to TensorBoard here.")

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with anything that changes the result; places and logging do not."""
        places = {"store", "work_dir", "tensorboard_dir", "rollouts", "patience_seconds"}
        return hashlib.sha256(self.model_dump_json(exclude=places).encode()).hexdigest()[:12]


class SftJobSettings(JobSettings):
    """Supervised fine-tuning of one arm."""

    dataset_key: str = Field(description="Object of JSON lines: prompt, completion, chat, segments.")
    sft: SftSettings = SftSettings()


class GrpoJobSettings(JobSettings):
    """GRPO of one arm."""

    rollouts: str = Field(description="Address of the rollouts service, host:port.")
    feed: str = Field(description="Name of the feed; one per arm.")
    prompts_key: str = Field(description="Object of the feed's prompts: JSON lines of Problem.")
    patience_seconds: float = Field(600.0, ge=0, description="How long to wait for a rollouts service that is away.")
    policies_key: str = Field(description="Key prefix of the weights published after each step; the last two are kept.")
    rl: RlSettings = RlSettings()
