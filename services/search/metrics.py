"""What the search service counts."""

from __future__ import annotations

from retrograde.runtime import metrics

TREES = metrics.counter("search", "trees_total", "Trees, by what became of them.", ("outcome",))
TREES_IN_FLIGHT = metrics.gauge("search", "trees_in_flight", "Trees being searched now.")
TREE_SECONDS = metrics.histogram("search", "tree_seconds", "From taking a problem to its stored tree.")
ITERATIONS = metrics.counter("search", "iterations_total", "Iterations finished.")
CALLS = metrics.counter(
    "search", "calls_total", "Calls fed, asked of the model or read from a log.", ("kind", "source")
)
CALL_SECONDS = metrics.histogram("search", "call_seconds", "Answer of the policy and grading of its ends.", ("kind",))
LOG_SECONDS = metrics.histogram("search", "log_append_seconds", "Making one record durable.")
TOKENS = metrics.counter("search", "tokens_total", "Tokens asked and answered.", ("kind",))
STORE_WAITS = metrics.counter("search", "store_waits_total", "Times the store was away or full and was asked again.")
FENCED = metrics.counter("search", "fenced_total", "Trees given up because another worker had taken them over.")
SAMPLES_IN_FLIGHT = metrics.gauge("search", "samples_in_flight", "Completions asked of the engine now.")
SAMPLES_TARGET = metrics.gauge("search", "samples_target", "Completions that may be asked at the same time.")
CALLS_WAITING = metrics.gauge("search", "waiting_calls", "Calls that wait for their turn at the engine.")
VERDICTS = metrics.counter("search", "verdicts_total", "Grades of ends.", ("verdict",))
