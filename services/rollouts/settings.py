"""Settings of the rollouts service, and of one feed."""

from __future__ import annotations

from pydantic import Field

from retrograde.core.settings import Settings
from retrograde.runtime.settings import Addresses, ServiceSettings


class RolloutsSettings(ServiceSettings):
    """The process."""

    inference: Addresses = Field(
        description="The inference service: host:port of each replica, or dns:///name:port for all addresses of a name."
    )
    verifier: str = Field(description="Address of the verifier service, host:port.")
    max_groups_in_flight: int = Field(64, ge=1, description="Groups sampled at the same time over all feeds.")


class FeedSettings(Settings):
    """One feed; given once, when it is opened first."""

    group_size: int = Field(4, ge=2, description="Samples per prompt.")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(1024, ge=1, description="Longest completion.")
    seed: int = Field(0, description="Of the order of the prompts in each epoch.")
    lease_seconds: float = Field(1800.0, gt=0, description="A group not acknowledged in this time is given out again.")
