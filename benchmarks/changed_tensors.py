"""`python -m benchmarks.changed_tensors`: what of a policy's weights stays the same over an optimiser step.

The demo model, AdamW, batches of random tokens: per learning rate and type, the share of bytes in tensors that did not
change at all, and the share of single values that did not, at most over the steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

MODEL = Path(__file__).resolve().parents[1] / "models/countdown-base"
NUM_STEPS = 6
LEARNING_RATES = (2e-4, 1e-6)
TYPES = (torch.float32, torch.bfloat16)


def weights(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A copy of them."""
    return {name: tensor.detach().to(dtype).clone() for name, tensor in model.state_dict().items()}


def unchanged(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> tuple[float, float]:
    """(share of bytes in tensors that are equal, share of values that are equal)."""
    total = sum(tensor.numel() for tensor in old.values())
    whole = sum(tensor.numel() for name, tensor in old.items() if torch.equal(tensor, new[name]))
    single = sum(int((tensor == new[name]).sum()) for name, tensor in old.items())
    return whole / total, single / total


def measure(learning_rate: float) -> dict[torch.dtype, tuple[float, float]]:
    """By type, the most that stayed over a step."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    most = dict.fromkeys(TYPES, (0.0, 0.0))
    for _ in range(NUM_STEPS):
        before = {dtype: weights(model, dtype) for dtype in TYPES}
        ids = torch.randint(0, model.config.vocab_size, (8, 64))
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        for dtype in TYPES:
            whole, single = unchanged(before[dtype], weights(model, dtype))
            most[dtype] = (max(most[dtype][0], whole), max(most[dtype][1], single))
    return most


if __name__ == "__main__":
    for rate in LEARNING_RATES:
        for dtype, (whole, single) in measure(rate).items():
            print(f"{rate:g} {dtype}: {whole:.4f} of the bytes in unchanged tensors, {single:.3f} of the values")
