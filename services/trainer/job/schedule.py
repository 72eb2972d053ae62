"""How many optimiser steps fine-tuning takes, and how fast it learns at each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrograde.core.settings import SftSettings


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many steps, and the learning rate of each: a linear warm-up, then half a cosine to zero."""

    num_steps: int
    num_warmup_steps: int
    peak: float

    def learning_rate(self, step: int) -> float:
        """Of optimiser step `step`, counted from 0."""
        if step < self.num_warmup_steps:
            return self.peak * (step + 1) / self.num_warmup_steps
        progress = (step - self.num_warmup_steps) / max(1, self.num_steps - self.num_warmup_steps)
        return self.peak * 0.5 * (1 + math.cos(math.pi * progress))


def schedule(num_examples: int, settings: SftSettings) -> Schedule:
    """The schedule for a dataset of `num_examples`."""
    num_steps = settings.num_epochs * math.ceil(num_examples / settings.batch_size)
    return Schedule(num_steps, math.ceil(settings.warmup_ratio * num_steps), settings.learning_rate)
