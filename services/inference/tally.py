"""Prompt tokens, counted by sequence: what the engine computed, and what its prefix cache held.

vLLM calls `record` with each batch of its statistics (a "stat logger", in its terms). A request for n completions is n
sequences, each with the whole prompt: their tokens are counted each.
"""

from __future__ import annotations

from typing import Any


class PromptTally:
    """Counts since the start; a sequence's are added when it has ended."""

    def __init__(self) -> None:
        self.num_prefilled_tokens = 0
        self.num_cached_tokens = 0

    def __call__(self, _config: Any, _engine_index: int = 0) -> PromptTally:
        """What vLLM calls to make one logger for each of its engines: there is one engine."""
        return self

    def record(self, _scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        """Adds the statistics of one message of the engine; None: it brought none."""
        if iteration_stats is not None:
            self.num_prefilled_tokens += iteration_stats.prompt_token_stats.computed
            self.num_cached_tokens += iteration_stats.prompt_token_stats.cached_tokens

    def log_engine_initialized(self) -> None:
        """Nothing to say."""

    def log(self) -> None:
        """Nothing to say."""
