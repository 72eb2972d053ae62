"""How a step's examples lie in tensors: one to a row and padded, or packed end to end.

Packing changes the layout alone. Every example counts its positions from 0 and attends to itself only: transformers
cuts attention where positions begin again, by a mask under sdpa and by lengths under flash attention, which wants all
examples in one row. So the loss and the gradient of a step are the same packed or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from services.trainer.job.batches import Example, micro_batches

Packing = Literal["off", "best_fit"]
Layout = list[list[list[int]]]
"""Micro-batches of rows of examples."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A micro-batch: `tokens` int64 [B, T], `weights` float32 [B, T-1], `positions` int64 [B, T] of packed rows."""

    tokens: Tensor
    weights: Tensor
    positions: Tensor | None


def lay_out(
    lengths: Sequence[int], indices: Sequence[int], max_tokens: int, packing: Packing, *, in_one_row: bool
) -> Layout:
    """Micro-batches of at most `max_tokens` padded tokens; one example always fits.

    Packed rows are as long as the longest example, since attention costs the square of a row under a mask; with
    `in_one_row` a micro-batch is one row of up to `max_tokens`.
    """
    if packing == "off":
        return [[[index] for index in group] for group in micro_batches(lengths, indices, max_tokens)]
    longest = max(lengths[index] for index in indices)
    rows = best_fit(lengths, indices, max(longest, max_tokens) if in_one_row else longest)
    per_batch = 1 if in_one_row else max(1, max_tokens // longest)
    return [rows[start : start + per_batch] for start in range(0, len(rows), per_batch)]


def best_fit(lengths: Sequence[int], indices: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of at most `capacity` tokens: longest first, each into the row that it fills best."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(indices, key=lambda i: (-lengths[i], i)):
        fitting = [row for row, free in enumerate(room) if free >= lengths[index]]
        if fitting:
            row = min(fitting, key=lambda i: (room[i], i))
        else:
            row = len(rows)
            rows.append([])
            room.append(capacity)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def padding_share(lengths: Sequence[int], layout: Layout) -> float:
    """Of the places in the step's tensors, those that hold no token."""
    filled = [[sum(lengths[index] for index in row) for row in rows] for rows in layout]
    return 1 - sum(map(sum, filled)) / sum(len(rows) * max(rows) for rows in filled)


def collate_rows(rows: Sequence[Sequence[Example]], device: torch.device) -> Rows:
    """Pads on the right; without rows, a single pair of tokens of weight 0."""
    length = max([2, *(sum(len(example.tokens) for example in row) for row in rows)])
    shape = (max(1, len(rows)), length)
    tokens, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
    positions = np.tile(np.arange(length), (shape[0], 1))
    for number, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example.tokens)
            tokens[number, start:end] = example.tokens
            weights[number, start + 1 : end] = example.weights[1:]  # nothing of its own comes before the first
            positions[number, start:] = np.arange(length - start)
            start = end
        if len(row) > 1:
            positions[number, start:] = np.arange(length - start)  # padding is on its own
    return Rows(
        tokens=torch.from_numpy(tokens).to(device),
        weights=torch.from_numpy(weights[:, 1:].copy()).to(device),
        positions=torch.from_numpy(positions).to(device) if any(len(row) > 1 for row in rows) else None,
    )
