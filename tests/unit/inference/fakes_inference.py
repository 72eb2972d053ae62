"""A model and a tokenizer of a dozen tokens, and checkpoints of two matrices: enough to see what the service does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from typing import TYPE_CHECKING

import numpy as np

from retrograde.core.policy import Completion
from services.inference.engine import Drawn
from services.inference.tally import PromptTally
from services.inference.weights import folder_of
from services.inference.words import Words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from retrograde.core.policy import Sampling
    from services.inference.transport import Weights

VOCABULARY = ("<eos>", "a", "b", " a", "\n", ".\n", "12", "1", " ")


class FakeTokenizer:
    """Longest match over VOCABULARY; token 0 is special."""

    chat_template: str | None = "yes"

    def __len__(self) -> int:
        return len(VOCABULARY)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        ids = [0] if add_special_tokens else []
        while text:
            token = max((each for each in VOCABULARY if text.startswith(each)), key=len)
            ids.append(VOCABULARY.index(token))
            text = text[len(token) :]
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return "".join(VOCABULARY[each] for each in ids if each or not skip_special_tokens)

    def batch_decode(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]

    def apply_chat_template(
        self, turns: Sequence[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert not tokenize
        assert add_generation_prompt
        return "".join(f"{turn['content']}\n" for turn in turns)


class FakeEngine:
    """Answers with the names of the folders whose weights it drew under, after `pace` turns of the event loop."""

    max_model_tokens = 16
    num_token_ids = len(VOCABULARY)
    turn_seconds = 0.0

    def __init__(self, folder: Path, pace: int = 3) -> None:
        self.words = Words(FakeTokenizer())
        self.prompts = PromptTally()
        self.loaded = folder
        self.running = 0
        self.loads: list[Path] = []
        self.broken: set[Path] = set()
        self.given_up = ""
        self.loading = asyncio.Event()
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._pace = pace
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    async def generate(self, prompt_ids: Sequence[int], sampling: Sampling, stop_token_ids: Sequence[int]) -> Drawn:
        del prompt_ids, stop_token_ids
        self.running += 1
        try:
            under = await self._draw()
        finally:
            self.running -= 1
        completion = Completion(text=">".join(under), token_ids=np.array([1, 2], np.int32))
        return Drawn((completion,) * sampling.n, cached_tokens=1)

    async def turn(self) -> None:
        """One token's time."""
        await asyncio.sleep(self.turn_seconds)

    async def _draw(self) -> list[str]:
        under = [self.loaded.name]
        for _ in range(self._pace):
            await self.turn()
            await self.may_answer.wait()
            await self._goes_on.wait()
            under += [self.loaded.name] if self.loaded.name != under[-1] else []
        return under

    async def score(self, prompt_ids: Sequence[int], continuation_ids: Sequence[int]) -> float:
        self.running += 1
        try:
            await self._draw()
        finally:
            self.running -= 1
        return -float(len(prompt_ids) + 10 * len(continuation_ids))

    @contextlib.asynccontextmanager
    async def stopped(self, *, keep: bool) -> AsyncIterator[None]:
        assert keep or not self.running
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()

    async def load(self, weights: Weights) -> None:
        assert not self._goes_on.is_set()
        folder = folder_of(weights)
        self.loads.append(folder)
        self.loading.set()
        await self.may_load.wait()
        if folder in self.broken:
            raise OSError("disk on fire")
        self.loaded = folder

    def give_up(self, reason: str) -> None:
        self.given_up = reason


def write_checkpoint(folder: Path, fill: float = 0.0, shape: tuple[int, int] = (2, 3), config: str = "{}") -> Path:
    """A Hugging Face directory with one matrix."""
    folder.mkdir(parents=True)
    data = np.full(shape, fill, "<f4").tobytes()
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)
    (folder / "config.json").write_text(config)
    return folder
