"""Settings of the search service."""

from __future__ import annotations

from pydantic import Field

from retrograde.runtime.settings import Address, Addresses, WorkerSettings


class SearchServiceSettings(WorkerSettings):
    """The search service: problems to trees."""

    inference: Addresses = Field(
        description="The inference service: host:port of each replica, or dns:///name:port for all addresses of a name."
    )
    verifier: Address = Field(
        description="host:port of the verifier service, or dns:///name:port: calls take turns among all its addresses."
    )
    max_trees: int = Field(64, ge=1, description="Trees of the problems topic searched at the same time.")
    deadline_seconds: float = Field(
        21600.0,
        gt=0,
        description="Longest an attempt at a tree may take; then it has failed, and the next goes on from its log.",
    )
    max_watched: int = Field(16, ge=1, description="Search RPCs answered at the same time; more are refused.")
    grade_items: int = Field(256, ge=1, description="Most solutions sent to the verifier in one call.")
    grade_wait_seconds: float = Field(
        0.004, ge=0, description="How long a solution may wait for others to join its call."
    )
    engine_samples: int = Field(
        256, ge=1, description="Sequences the engine batches at most, until the inference service says how many."
    )
    engine_fill: float = Field(
        1.5, gt=0, description="Samples in flight over all trees, as a multiple of those sequences."
    )
    engine_look_seconds: float = Field(
        10.0, gt=0, description="How often the inference service is asked for its batch and its load."
    )
    store_threads: int = Field(32, ge=1, description="Calls of the store at the same time, over all trees.")
    takeover_seconds: float = Field(
        30.0, ge=0, description="How long another worker's log of a tree must stand still before the tree is retaken."
    )
    hand_back_seconds: float = Field(
        5.0,
        ge=0,
        description="After SIGTERM, how long calls in flight may take; then their tree is handed back without them.",
    )
