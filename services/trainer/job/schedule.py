"""How many optimiser steps training takes, and how fast it learns at each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from retrograde.core.settings import RlSettings, SftSettings


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many steps, and the learning rate of each: a linear warm-up, then the peak or a fall from it to zero."""

    num_steps: int
    num_warmup_steps: int
    peak: float
    decay: Literal["constant", "linear", "cosine"] = "cosine"

    def learning_rate(self, step: int) -> float:
        """Of optimiser step `step`, counted from 0."""
        if step < self.num_warmup_steps:
            return self.peak * (step + 1) / self.num_warmup_steps
        progress = (step - self.num_warmup_steps) / max(1, self.num_steps - self.num_warmup_steps)
        match self.decay:
            case "constant":
                return self.peak
            case "linear":
                return self.peak * (1 - progress)
            case "cosine":
                return self.peak * 0.5 * (1 + math.cos(math.pi * progress))


def schedule(num_examples: int, settings: SftSettings) -> Schedule:
    """Fine-tuning's, for a dataset of `num_examples`."""
    num_steps = settings.num_epochs * math.ceil(num_examples / settings.batch_size)
    return Schedule(num_steps, math.ceil(settings.warmup_ratio * num_steps), settings.learning_rate)


def rl_schedule(settings: RlSettings) -> Schedule:
    """GRPO's: all updates of a step have its rate."""
    return Schedule(settings.num_steps, settings.warmup_steps, settings.learning_rate, settings.learning_rate_schedule)
