"""What the verifier counts."""

from __future__ import annotations

from retrograde.runtime import metrics

ITEMS = metrics.counter("verifier", "items_total", "Answers graded, by verdict.", ("verdict",))
BATCH_SECONDS = metrics.histogram("verifier", "batch_seconds", "From a request to its last grade.")
WAITING = metrics.gauge("verifier", "waiting_items", "Answers in line.")
WORKERS = metrics.gauge("verifier", "workers", "Grading processes alive.")
ENDS = metrics.counter("verifier", "worker_ends_total", "Grading processes ended out of turn, by reason.", ("reason",))
