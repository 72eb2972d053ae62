"""The steps of a training job as the controller sees them: read from the store, told in one line and as gauges."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping

from prometheus_client import Gauge

from retrograde.analysis.tables import duration
from retrograde.core.problem import Cost
from retrograde.runtime import metrics
from retrograde.runtime.objects import ObjectStore

_WINDOW_STEPS = 10
_TOLD = {
    "reward": ("reward", ".3f"),
    "loss": ("loss", ".3g"),
    "completions/mean_length": ("length", ".1f"),
    "backtracks": ("backtracks", ".2f"),
    "policy_lag/mean": ("lag", ".2g"),
}


def _gauge(quantity: str, help_text: str) -> Gauge:
    return metrics.gauge("trainer", f"job_{quantity}", f"{help_text}, at a job's latest step", ("job",))


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
_TOKENS_PER_SECOND = _gauge("tokens_per_second", f"Tokens trained on a second, over {_WINDOW_STEPS} steps")


class JobSteps:
    """The steps below `prefix`, oldest first; `read` takes in those that are new."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self.values: list[Mapping[str, float]] = []
        self._store = store
        self._prefix = prefix
        self._known: set[str] = set()

    def read(self) -> None:
        """Blocks for the store."""
        for key in self._store.list(self._prefix):
            if key not in self._known:
                self.values.append(json.loads(self._store.get(key)))
                self._known.add(key)

    def figures(self) -> str:
        """The latest step and the speed in one line; "" before the first."""
        if not self.values:
            return ""
        latest = self.values[-1]
        told = [f"{name} {latest[key]:{form}}" for key, (name, form) in _TOLD.items() if key in latest]
        seconds = statistics.fmean(step.get("step_seconds", 0.0) for step in self.values[-_WINDOW_STEPS:])
        left = (latest.get("num_steps", 0) - len(self.values)) * seconds
        rate = self.tokens_per_second()
        told += [f"{rate:,.0f} tokens/s"] if rate else []
        return ", ".join(told + ([f"{duration(left)} left"] if left > 0 else []))

    def tokens_per_second(self) -> float:
        """Over the last steps; 0 where they do not say."""
        window = self.values[-_WINDOW_STEPS:]
        tokens = sum(step.get("generated_tokens", step.get("num_tokens", 0)) for step in window)
        seconds = sum(step.get("step_seconds", 0.0) for step in window)
        return tokens / seconds if seconds > 0 else 0.0

    def cost(self) -> Cost:
        """Sums what the steps say of themselves."""
        cost = Cost()
        for step in self.values:
            cost.prompt_tokens += int(step.get("prompt_tokens", 0))
            cost.generated_tokens += int(step.get("generated_tokens", 0))
            cost.verifier_calls += int(step.get("verifier_calls", 0))
            cost.accelerator_seconds += float(step.get("step_seconds", 0.0))
        return cost


def show(job: str, steps: JobSteps) -> None:
    """Sets the gauges of `job` to its latest step. Of two runs with a job of one name the later one shows."""
    if steps.values:
        for key, each in _GAUGES.items():
            if key in steps.values[-1]:
                each.labels(job).set(steps.values[-1][key])
        _TOKENS_PER_SECOND.labels(job).set(steps.tokens_per_second())


def hide(job: str) -> None:
    """Takes the gauges of a job away that works no more."""
    for each in (*_GAUGES.values(), _TOKENS_PER_SECOND):
        each.remove(job)
