"""What the verifier counts."""

from __future__ import annotations

import re

from retrograde.runtime import metrics
from retrograde.runtime.logs import get_logger
from retrograde.sandbox.pool import Pool
from retrograde.sandbox.worker import Outcome

ITEMS = metrics.counter(
    "verifier", "items_total", "Answers graded, by verdict and by the comparison that decided.", ("verdict", "path")
)
BATCH_SECONDS = metrics.histogram("verifier", "batch_seconds", "From a request to its last grade.")
WAITING = metrics.gauge("verifier", "waiting_items", "Answers in line.")
HELD_BYTES = metrics.gauge("verifier", "held_bytes", "Bytes of the requests being answered.")
WORKERS = metrics.gauge("verifier", "workers", "Grading processes alive.")
END_SECONDS = metrics.histogram(
    "verifier",
    "worker_end_seconds",
    "Grading processes ended out of turn, by reason: how long they had their item in hand.",
    ("reason",),
)
SHADOW = metrics.counter(
    "verifier",
    "shadow_total",
    "Answers judged a second time: the two verdicts, and whether they agree, disagree, or one says nothing.",
    ("ours", "theirs", "outcome"),
)
SHADOW_DROPPED = metrics.counter(
    "verifier", "shadow_dropped_total", "Answers or disagreements the shadow let go, by reason.", ("reason",)
)

_MAX_PATHS = 40
_PATH = re.compile(r"[a-z][a-z0-9_ -]{0,39}")
_paths: set[str] = set()
_log = get_logger(__name__)


def path_label(path: str) -> str:
    """`path` as a label: "none" for "", "other" for what is no name or comes after the 40 first."""
    if not path:
        return "none"
    if path in _paths:
        return path
    if len(_paths) >= _MAX_PATHS or not _PATH.fullmatch(path):
        return "other"
    _paths.add(path)
    return path


def count_end(outcome: Outcome) -> None:
    """A grading process ended out of turn."""
    END_SECONDS.labels(reason=outcome.ending.value).observe(outcome.seconds)
    _log.warning("worker ended", reason=outcome.ending.value, seconds=round(outcome.seconds, 3))


def follow(pool: Pool) -> None:
    """The gauges tell the state of `pool` from now on."""
    WAITING.set_function(lambda: pool.num_waiting)
    HELD_BYTES.set_function(lambda: pool.num_bytes)
    WORKERS.set_function(lambda: len(pool.workers))
