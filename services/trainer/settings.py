"""Settings of the trainer service."""

from __future__ import annotations

from pydantic import Field

from retrograde.runtime.settings import Addresses, ServiceSettings
from services.trainer.kubernetes.settings import LaunchSettings
from services.trainer.tracking import TrackingSettings


class TrainerSettings(ServiceSettings):
    """The process."""

    inference: Addresses = Field(
        description="The inference service: host:port of each replica, or dns:///name:port for all addresses of a name."
    )
    verifier: str = Field(
        description="host:port of the verifier service, or dns:///name:port: calls take turns among all its addresses."
    )
    rollouts: str = Field(description="Address of the rollouts service, host:port.")
    work_dir: str = Field(
        description="Scratch folder of the training jobs; of local ones logs and configurations, too. In a cluster it "
        "is a folder of the job's pods."
    )
    launch: LaunchSettings = LaunchSettings()
    tracking: TrackingSettings = TrackingSettings()
    job_attempts: int = Field(5, ge=1, description="Starts of one training job before its stage fails.")
    evaluation_requests: int = Field(64, ge=1, description="Problems sampled at the same time in an evaluation.")
