"""What the two training jobs are told, each from one YAML file; the numbers of the method are core's settings.

Keys are places in the object store; `work_dir` is scratch on the node, safe to lose at any moment.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from retrograde.core.settings import EngineSettings, RlSettings, Settings, SftSettings
from retrograde.runtime.spans import TracingSettings
from retrograde.runtime.tls import TlsSettings
from services.trainer.tracking import TrackingSettings


class JobSettings(Settings):
    """What both jobs need."""

    store: str = Field(description="Object store URL, such as file:///data/store.")
    init_checkpoint: str = Field(description="Key prefix of the Hugging Face directory training starts from.")
    output_key: str = Field(description="Key prefix that gets the finished Hugging Face directory.")
    job_key: str = Field(description="Key prefix of the job's own objects: state/ and steps/.")
    work_dir: Path = Field(description="Local scratch of the node.")
    seed: int = 0
    engine: EngineSettings = EngineSettings()
    tracking: TrackingSettings = TrackingSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with anything that changes the result; places, logging and waits do not."""
        places = ("store", "work_dir", "tracking", "tracing", "rollouts", "tls", "patience_seconds")
        excluded: dict[str, Any] = {**dict.fromkeys(places, True), "rl": {"lease_seconds", "publish_seconds"}}
        return hashlib.sha256(self.model_dump_json(exclude=excluded).encode()).hexdigest()[:12]


class SftJobSettings(JobSettings):
    """Supervised fine-tuning of one arm."""

    dataset_key: str = Field(description="Object of JSON lines: docs/sft.md has the formats.")
    eval_dataset_key: str | None = Field(None, description="Object held out for eval_loss, instead of sft.eval_share.")
    sft: SftSettings = SftSettings()

    @model_validator(mode="after")
    def _held_out_once(self) -> SftJobSettings:
        if self.eval_dataset_key and self.sft.eval_share:
            raise ValueError("eval_dataset_key: the held-out share is taken of dataset_key; set sft.eval_share: 0")
        return self


class GrpoJobSettings(JobSettings):
    """GRPO of one arm."""

    rollouts: str = Field(description="Address of the rollouts service, host:port.")
    tls: TlsSettings | None = Field(None, description="What the job shows the rollouts service: see docs/security.md.")
    feed: str = Field(description="Name of the feed; one per arm.")
    prompts_key: str = Field(description="Object of the feed's prompts: JSON lines of Problem.")
    patience_seconds: float = Field(600.0, ge=0, description="How long to wait for a rollouts service that is away.")
    policies_key: str = Field(description="Key prefix of the weights published after each step; the last two are kept.")
    rl: RlSettings = RlSettings()
