"""What the rollouts service counts."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

SAMPLES = Counter("retrograde_rollouts_samples_total", "Samples drawn, by verdict.", ["verdict"])
UNGRADED = Counter("retrograde_rollouts_ungraded_samples_total", "Samples left out: the verifier gave no verdict.")
GROUPS = Counter("retrograde_rollouts_groups_total", "Groups, by what became of them.", ["outcome"])
SWAP_SECONDS = Histogram("retrograde_rollouts_policy_swap_seconds", "Seconds requests waited for new weights.")
