"""The engine's scheduler, told to keep what nobody reads yet. Runs in the engine's process, named in its settings.

vLLM's scheduler sends each token of each sequence to the front end the moment it is drawn: a message, an object and a
turn of the front end's loop per step, though a caller that asked for whole completions reads none of it. This one holds
those tokens and their log-probabilities (see `holding`) and sends a sequence once, when it has ended. The engine's
statistics, too, are sent a few times a second instead of after each step; what they count adds up meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.core.sched.scheduler import Scheduler

from services.inference import siblings
from services.inference.holding import Holding, waits_for_its_end

STATISTICS_EVERY_SECONDS = 0.25


class QuietScheduler(Scheduler):  # type: ignore[misc]  # vLLM is untyped to mypy here
    """vLLM's scheduler; see the module for what it does otherwise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._holding = Holding()
        self._told_at = 0.0

    def add_request(self, request: Any) -> None:
        """Takes a request in, all of its siblings before the next step."""
        for each in siblings.apart(request):
            if waits_for_its_end(each.sampling_params):
                self._holding.begin(each.request_id)
            super().add_request(each)

    def finish_requests(self, request_ids: Any, finished_status: Any) -> list[Any]:
        """Ends requests from outside (aborts): what was held of them is forgotten."""
        ended: list[Any] = super().finish_requests(request_ids, finished_status)
        for request in ended:
            self._holding.forget(request.request_id)
        return ended

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> dict[int, Any]:
        """The step's outputs by client, without those that are held; a client for whom nothing is left gets none."""
        by_client = super().update_from_output(scheduler_output, model_runner_output)
        for messages in by_client.values():
            messages.outputs = self._holding.passed(messages.outputs)
        return {client: each for client, each in by_client.items() if _says_something(each)}

    def make_stats(self, *args: Any, **kwargs: Any) -> Any:
        """Statistics, at most once in STATISTICS_EVERY_SECONDS while there is work."""
        now = time.monotonic()
        if self.running and now - self._told_at < STATISTICS_EVERY_SECONDS:
            return None
        self._told_at = now
        return super().make_stats(*args, **kwargs)


def _says_something(messages: Any) -> bool:
    return bool(messages.outputs or messages.scheduler_stats or messages.finished_requests)
