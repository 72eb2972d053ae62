"""What the rewriter service counts."""

from __future__ import annotations

from retrograde.runtime import metrics

SETS = metrics.counter("rewriter", "sets_total", "Solution sets, by what became of them.", ("outcome",))
SOLUTIONS = metrics.counter("rewriter", "solutions_total", "Solutions kept.", ("kind", "rewriter"))
REJECTED = metrics.counter("rewriter", "rejected_total", "Trees, walks and solutions left out.", ("reason",))
JUDGED = metrics.counter("rewriter", "judged_total", "Correct terminals judged by the policy.", ("outcome",))
ATTEMPTS = metrics.counter("rewriter", "attempts_total", "Steps retold by the policy, or refused.", ("outcome",))
TOKENS = metrics.counter("rewriter", "tokens_total", "Tokens asked and answered.", ("kind",))
SET_SECONDS = metrics.histogram("rewriter", "set_seconds", "From taking a tree to its stored solutions.")
