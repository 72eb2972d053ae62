"""The steps of a training job while it works: read from the store as they come, and told in one line."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping

from retrograde.analysis.tables import duration
from retrograde.core.problem import Cost
from retrograde.runtime.objects import ObjectStore

WINDOW_STEPS = 10
_TOLD = {
    "reward": ("reward", ".3f"),
    "loss": ("loss", ".3g"),
    "completions/mean_length": ("length", ".1f"),
    "backtracks": ("backtracks", ".2f"),
    "policy_lag/mean": ("lag", ".2g"),
}


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
        seconds = statistics.fmean(step.get("step_seconds", 0.0) for step in self.values[-WINDOW_STEPS:])
        left = (latest.get("num_steps", 0) - len(self.values)) * seconds
        rate = self.tokens_per_second()
        told += [f"{rate:,.0f} tokens/s"] if rate else []
        return ", ".join(told + ([f"{duration(left)} left"] if left > 0 else []))

    def tokens_per_second(self) -> float:
        """Over the last steps; 0 where they do not say."""
        window = self.values[-WINDOW_STEPS:]
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
            cost.accelerator_seconds += float(step.get("train_seconds", step.get("step_seconds", 0.0)))
        return cost
