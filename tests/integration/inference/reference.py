"""Whether an answer is what given weights say: by transformers, in float32, with no cache between any two of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from retrograde.core.policy import Generation

_NEAR = 0.02  # logits of two computations of one model differ by far less; those of two models by far more


class Reference:
    """The models, by name."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        from transformers import LlamaForCausalLM  # noqa: PLC0415 - slow to import

        self._models = {name: LlamaForCausalLM.from_pretrained(folder) for name, folder in folders.items()}
        self._greedy: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[bool]] = {}

    def is_stale(self, answer: Generation, names: Mapping[int, str]) -> bool:
        """Whether a token of a greedy answer is not what the weights of its versions say, oldest first.

        `names` has the model of each version.
        """
        first, last = answer.policy_versions
        version = first
        tokens = answer.completions[0].token_ids.tolist()
        for index in range(len(tokens)):
            while not self._is_greedy(names[version], answer.prompt_token_ids.tolist(), tokens)[index]:
                version += 1
                if version > last:
                    return True
        return False

    def _is_greedy(self, name: str, prompt: Sequence[int], tokens: Sequence[int]) -> list[bool]:
        """Of each token: whether the model's choice after all before it is this one, or one as good."""
        key = (name, tuple(prompt), tuple(tokens))
        if key not in self._greedy:
            self._greedy[key] = list(self._compare(name, prompt, tokens))
        return self._greedy[key]

    def _compare(self, name: str, prompt: Sequence[int], tokens: Sequence[int]) -> Iterable[bool]:
        import torch  # noqa: PLC0415 - slow to import

        with torch.no_grad():
            logits = self._models[name](torch.tensor([[*prompt, *tokens]])).logits[0]
        told = logits[len(prompt) - 1 : -1].numpy()
        best = told.max(axis=1)
        drawn = np.take_along_axis(told, np.asarray(tokens)[:, None], axis=1)[:, 0]
        return (drawn >= best - _NEAR).tolist()
