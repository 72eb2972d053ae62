"""The latest step of each job at work as gauges, by the names of its run and of the job: `astro_rl`, `direct_sft`."""

from __future__ import annotations

from prometheus_client import Gauge

from retrograde.analysis.job_steps import WINDOW_STEPS, JobSteps
from retrograde.runtime import metrics


def _gauge(quantity: str, help_text: str) -> Gauge:
    return metrics.gauge("trainer", f"job_{quantity}", f"{help_text}, at a job's latest step", ("run", "job"))


_GAUGES = {
    "step": _gauge("step", "Optimiser steps done"),
    "loss": _gauge("loss", "Loss"),
    "reward": _gauge("reward", "Mean reward"),
    "kl": _gauge("kl_nats", "Divergence from the reference"),
    "entropy": _gauge("entropy_nats", "Entropy"),
    "grad_norm": _gauge("grad_norm", "Norm of the gradient"),
    "learning_rate": _gauge("learning_rate", "Learning rate"),
    "completions/mean_length": _gauge("completion_tokens", "Mean tokens of a completion"),
    "backtracks": _gauge("backtracks", "Mean backtracks of a completion"),
    "policy_lag/mean": _gauge("policy_lag_versions", "Policy versions between sampling and training, mean"),
    "step_seconds": _gauge("step_seconds", "Seconds of a step"),
    "wait_seconds": _gauge("wait_seconds", "Seconds of a step in which the trainer waited for rollouts"),
}
_TOKENS_PER_SECOND = _gauge("tokens_per_second", f"Tokens trained on a second, over {WINDOW_STEPS} steps")


def show(run: str, job: str, steps: JobSteps) -> None:
    """Sets the gauges of the run's job to its latest step; one that has made none is at step 0."""
    latest = steps.values[-1] if steps.values else {"step": 0}
    for key, each in _GAUGES.items():
        if key in latest:
            each.labels(run, job).set(latest[key])
    if steps.values:
        _TOKENS_PER_SECOND.labels(run, job).set(steps.tokens_per_second())


def hide(run: str, job: str) -> None:
    """Takes the gauges of a job away that works no more."""
    for each in (*_GAUGES.values(), _TOKENS_PER_SECOND):
        each.remove(run, job)
