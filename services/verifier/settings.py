"""Settings of the verifier service; all numbers are ours."""

from __future__ import annotations

import os

from pydantic import Field

from retrograde.runtime.settings import ServiceSettings


class VerifierSettings(ServiceSettings):
    """The verifier: grades answers in processes that can always be killed."""

    num_workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Children that grade at the same time."
    )
    num_late_workers: int = Field(
        8,
        ge=0,
        description="Further children while others are late at an item: a bomb takes no seat from good answers.",
    )
    deadline_seconds: float = Field(5.0, gt=0, description="Wall time of one item; then its child is killed: TIMEOUT.")
    late_seconds: float = Field(
        0.25, gt=0, description="After this at one item, a child gives back the rest of its chunk."
    )
    memory_bytes: int = Field(1 << 30, ge=1 << 24, description="Address space a child may take beyond the warm start.")
    chunk_items: int = Field(64, ge=1, description="Items sent to a child at once, at most.")
    max_batch_items: int = Field(100_000, ge=1, description="Items in one request, at most.")
    max_queued_items: int = Field(
        200_000, ge=1, description="Items waiting over all requests; more are refused until some are done."
    )
    tasks: tuple[str, ...] = Field(
        (), description="Dotted modules of further tasks; those of retrograde.tasks are always there."
    )
