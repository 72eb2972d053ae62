"""Settings of the rewriter service."""

from __future__ import annotations

from pydantic import Field

from retrograde.runtime.settings import Address, Addresses, WorkerSettings


class RewriterSettings(WorkerSettings):
    """The rewriter service: trees to solutions."""

    inference: Addresses = Field(
        description="The inference service: host:port of each replica, or dns:///name:port for all addresses of a name."
    )
    verifier: Address = Field(
        description="host:port of the verifier service, or dns:///name:port: calls take turns among all its addresses."
    )
    hand_back_seconds: float = Field(
        5.0, ge=0, description="After SIGTERM, how long the trees in flight may take; then they are handed back."
    )
