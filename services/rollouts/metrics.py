"""What the rollouts service counts."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from retrograde.v1.rollout_pb2 import RolloutGroup

_TOKEN_BYTES = 4

SAMPLES = Counter("retrograde_rollouts_samples_total", "Samples drawn, by verdict.", ["verdict"])
UNGRADED = Counter("retrograde_rollouts_ungraded_samples_total", "Samples left out: the verifier gave no verdict.")
GROUPS = Counter("retrograde_rollouts_groups_total", "Groups, by what became of them.", ["outcome"])
SAMPLE_TOKENS = Histogram(
    "retrograde_rollouts_sample_tokens",
    "Tokens of samples, by what became of their group: sum over count is the mean length of kept and of dropped ones.",
    ["outcome"],
    buckets=[2**power for power in range(4, 17)],
)
SWAP_SECONDS = Histogram("retrograde_rollouts_policy_swap_seconds", "Seconds requests waited for new weights.")


def observe(group: RolloutGroup, outcome: str) -> None:
    """Counts a group and its samples' tokens."""
    GROUPS.labels(outcome=outcome).inc()
    for sample in group.samples:
        SAMPLE_TOKENS.labels(outcome=outcome).observe(len(sample.token_ids.data) // _TOKEN_BYTES)
