"""Settings of the search service."""

from __future__ import annotations

from pydantic import Field

from retrograde.runtime.settings import Address, ServiceSettings


class SearchServiceSettings(ServiceSettings):
    """The search service: problems to trees."""

    inference: Address = Field(description="host:port of the inference service.")
    verifier: Address = Field(description="host:port of the verifier service.")
    max_trees: int = Field(64, ge=1, description="Trees of the problems topic searched at the same time.")
    max_watched: int = Field(16, ge=1, description="Search RPCs answered at the same time; more are refused.")
    grade_items: int = Field(256, ge=1, description="Most solutions sent to the verifier in one call.")
    grade_wait_seconds: float = Field(
        0.004, ge=0, description="How long a solution may wait for others to join its call."
    )
    hand_back_seconds: float = Field(
        5.0,
        ge=0,
        description="After SIGTERM, how long a call in flight may take; then its tree is handed back without it.",
    )
