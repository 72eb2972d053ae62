"""What a pool of grading processes may use; all numbers are ours."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Settings of a pool; those of the verifier extend them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Children that grade at the same time."
    )
    num_late_workers: int = Field(
        8,
        ge=1,
        description="Further children, for items that take longer than late_seconds: they take no seat from others.",
    )
    deadline_seconds: float = Field(
        5.0, gt=0, description="Wall time of one item, from its beginning; then its child is killed: TIMEOUT."
    )
    late_seconds: float = Field(
        0.25, gt=0, description="After this at one item, a child gives back the rest of its chunk, and its seat."
    )
    memory_bytes: int = Field(
        1 << 28,
        ge=1 << 24,
        description="Address space a child may take beyond the warm start; all of them together this much times "
        "num_workers + num_late_workers.",
    )
    chunk_items: int = Field(64, ge=1, description="Items sent to a child at once, at most.")
    max_queued_items: int = Field(
        200_000, ge=1, description="Items waiting over all requests; more are refused until some are done."
    )
    max_queued_bytes: int = Field(
        1 << 29, ge=1 << 20, description="Bytes of all requests not yet answered; more are refused until some are."
    )
    niceness: int = Field(0, ge=0, le=19, description="Of the children: 19 lets everything else go first.")
    tasks: tuple[str, ...] = Field(
        (), description="Dotted modules of further tasks; those of retrograde.tasks are always there."
    )
