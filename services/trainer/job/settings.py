"""What the two training jobs are told, each from one YAML file; the numbers of the method are core's settings.

Keys are places in the object store; `work_dir` is scratch on the node, safe to lose at any moment.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field

from retrograde.core.settings import EngineSettings, RlSettings, Settings, SftSettings


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
