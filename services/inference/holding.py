"""Tokens kept back until their sequence has ended: what `scheduler.QuietScheduler` does with the engine's outputs.

    waits for its end     whole completions (FINAL_ONLY) in which the front end looks for nothing (no text is made)
    goes out as it comes  everything else: streams, stop strings only the text can tell, log-probabilities of prompts

Knows the fields of vLLM's `EngineCoreOutput`, and imports nothing of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def waits_for_its_end(sampling: Any) -> bool:
    """Whether nothing in the front end needs a token of such a request before the last."""
    return (
        sampling is not None
        and sampling.output_kind.name == "FINAL_ONLY"
        and not sampling.detokenize
        and sampling.prompt_logprobs is None
    )


class Holding:
    """The outputs of each sequence that waits for its end, in order."""

    def __init__(self) -> None:
        self._held: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, request_id: str) -> None:
        """From now on outputs of `request_id` are held."""
        self._held[request_id] = []

    def forget(self, request_id: str) -> None:
        """Nothing of it will be asked for: it was aborted."""
        self._held.pop(request_id, None)

    def passed(self, outputs: list[Any]) -> list[Any]:
        """Those of `outputs` that go out now: not held at all, or the whole of a sequence that has ended."""
        return [each for each in map(self._held_or_whole, outputs) if each is not None]

    def _held_or_whole(self, output: Any) -> Any:
        held = self._held.get(output.request_id)
        if held is None:
            return output
        held.append(output)
        if output.finish_reason is None:
            return None
        del self._held[output.request_id]
        return joined(held)


def joined(held: list[Any]) -> Any:
    """The last output, with the tokens and log-probabilities of all and the first one's account of its prompt."""
    whole = held[-1]
    whole.new_token_ids = [token for each in held for token in each.new_token_ids]
    whole.prefill_stats = held[0].prefill_stats
    if whole.new_logprobs is not None:
        rows = zip(*(each.new_logprobs[:3] for each in held), strict=True)
        whole.new_logprobs = type(whole.new_logprobs)(*map(np.concatenate, rows))
    return whole
