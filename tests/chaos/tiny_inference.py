"""The inference service with a model of a dozen tokens in vLLM's place: `python -m tests.chaos.tiny_inference`.

What it draws is a function of the weights and the prompt alone, on one thread: asked again, it answers the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from retrograde.core.policy import Completion, Sampling
from services.inference import __main__ as service
from services.inference import engine
from services.inference.engine import Drawn
from services.inference.settings import InferenceSettings
from services.inference.transport import Weights
from services.inference.weights import folder_of
from services.inference.words import Words
from tests.unit.inference.fakes_inference import FakeEngine

TURN_SECONDS = 0.002


class TinyEngine(FakeEngine):
    """FakeEngine's stops and loads, a real model's tokens."""

    max_model_tokens = 64
    turn_seconds = TURN_SECONDS

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.words, self.num_token_ids = Words(tokenizer), len(tokenizer)
        self._policy = AutoModelForCausalLM.from_pretrained(folder)

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, stop_token_ids: Sequence[int]) -> Drawn:
        """Completions of the longest length that was asked for."""
        del stop_token_ids
        self.running += 1
        try:
            return Drawn(await self._drawn(prompt_ids, sampling), cached_tokens=0)
        finally:
            self.running -= 1

    async def load(self, weights: Weights) -> None:
        await super().load(weights)
        self._policy = AutoModelForCausalLM.from_pretrained(folder_of(weights))

    async def watch(self, drain: asyncio.Event) -> None:
        await drain.wait()

    async def _drawn(self, prompt_ids: Sequence[int], sampling: Sampling) -> tuple[Completion, ...]:
        generator = torch.Generator().manual_seed(zlib.crc32(bytes(prompt_ids)))
        tokens = torch.tensor(prompt_ids).repeat(sampling.n, 1)
        told = torch.empty(sampling.n, 0)
        for _ in range(sampling.max_tokens):
            await self.turn()
            await self._goes_on.wait()
            chosen, logprobs = self._next(tokens, generator)
            tokens, told = torch.cat([tokens, chosen], dim=1), torch.cat([told, logprobs], dim=1)
        rows = zip(tokens[:, len(prompt_ids) :].numpy(), told.numpy(), strict=True)
        return tuple(self._completion(prompt_ids, *row) for row in rows)

    @torch.no_grad()
    def _next(self, tokens: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """One token for each row, and its log-probability."""
        distribution = torch.log_softmax(self._policy(tokens).logits[:, -1], dim=-1)
        chosen = torch.multinomial(distribution.exp(), 1, generator=generator)
        return chosen, distribution.gather(1, chosen)

    def _completion(self, prompt_ids: Sequence[int], ids: np.ndarray, logprobs: np.ndarray) -> Completion:
        text = self.words.decode(prompt_ids, ids.tolist())
        return Completion(text, ids.astype(np.int32), logprobs, float(logprobs.sum()), "length")


@contextlib.asynccontextmanager
async def start(_settings: InferenceSettings, folder: Path) -> AsyncIterator[TinyEngine]:
    torch.set_num_threads(1)
    yield TinyEngine(folder)


if __name__ == "__main__":
    engine.start = start  # type: ignore[assignment]
    service.main()
