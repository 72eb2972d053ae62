"""Settings of the verifier service; all numbers are ours."""

from __future__ import annotations

from pydantic import Field

from retrograde.runtime.settings import ServiceSettings
from retrograde.sandbox.limits import Limits


class VerifierSettings(ServiceSettings, Limits):
    """The verifier: grades answers in processes that can always be killed."""

    max_batch_items: int = Field(100_000, ge=1, description="Items in one request, at most.")
    shadow_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the answers that a second grader, Math-Verify, judges too, after they were answered; "
        "needs retrograde[shadow].",
    )
    shadow_store: str = Field(
        "",
        description="file:///ABSOLUTE/DIRECTORY in which disagreements of the two are kept for "
        "`retrograde verify --disagreements`; without one they are only counted.",
    )
