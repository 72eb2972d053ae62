"""Settings of the rollouts service, and of one feed; docs/rollouts.md explains a feed's."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from retrograde.core.settings import Settings
from retrograde.runtime.settings import Addresses, ServiceSettings


class RolloutsSettings(ServiceSettings):
    """The process."""

    inference: Addresses = Field(
        description="The inference service: host:port of each replica, or dns:///name:port for all addresses of a name."
    )
    verifier: str = Field(
        description="host:port of the verifier service, or dns:///name:port: calls take turns among all its addresses."
    )
    generation_seconds: float = Field(
        3600.0, gt=0, description="Longest wait for a group's samples, or for new weights while others end."
    )
    max_groups_in_flight: int = Field(64, ge=1, description="Groups sampled at the same time over all feeds.")
    max_kept_bytes: int = Field(
        256 << 20, ge=0, description="Of leased groups, kept so that they are redelivered as they were, over all feeds."
    )


class FeedSettings(Settings):
    """One feed; given once, when it is opened first."""

    group_size: int = Field(4, ge=2, description="Samples per prompt.")
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(1024, ge=1, description="Longest completion.")
    seed: int = Field(0, description="Of the order of the prompts in each epoch.")
    num_epochs: int = Field(0, ge=0, description="The feed ends after as many; 0: never.")
    lease_seconds: float = Field(1800.0, gt=0, description="A group not acknowledged in this time is given out again.")
    num_ahead: int = Field(0, ge=0, description="Groups made before anybody pulls them.")
    max_policy_lag: int | None = Field(
        None,
        ge=0,
        description="Versions published since a group's oldest token, when it is leased; null: any number.",
    )
    stale: Literal["regenerate", "drop", "deliver"] = Field(
        "regenerate", description="A group beyond the lag: sample its prompt again, use the prompt up, or deliver it."
    )
    drop_equal_groups: bool = Field(
        default=False,
        description="Groups of equal rewards are not delivered; their prompts count as used, others follow.",
    )
    pass_rate_band: tuple[float, float] | None = Field(
        None, description="Prompts whose share of right answers was outside this, bounds included, rest."
    )
    band_rest_epochs: int = Field(2, ge=1, description="Epochs for which such a prompt rests; then it is tried again.")

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        if self.pass_rate_band and not 0 <= self.pass_rate_band[0] <= self.pass_rate_band[1] <= 1:
            raise ValueError(f"pass_rate_band: {list(self.pass_rate_band)} is no [low, high] within [0, 1]")
        return self
