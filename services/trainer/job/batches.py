"""From examples to padded tensors: which go together, in which order, on which rank.

Everything follows from the seed and the lengths, so every rank plans the whole step alike without a word exchanged.
A step's examples are sorted by length and cut into micro-batches of bounded padded size, dealt to the ranks in turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")
_TOLERATED_PADDING = 1 / 64  # of the largest micro-batch: about what the fixed cost of a pass is worth


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence: `tokens` int32 [T] and `weights` float32 [T], 1 where the token is trained on.

    RL adds log-probabilities float32 [T], `sampled` as told by the sampling policy (0 on the prompt) and `old` by the
    trainer's before its updates, the `advantage`, and the `share` of each token in the update's loss.
    """

    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    sampled: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    old: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    advantage: float = 0.0
    share: float = 0.0

    @property
    def num_trained(self) -> float:
        """Tokens that carry loss; the first of a sequence never does, for nothing predicts it."""
        return float(self.weights[1:].sum())


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Padded on the right: `tokens` int64 [B, T], the rest float32: `advantages` and `shares` [B], others [B, T-1]."""

    tokens: Tensor
    weights: Tensor
    sampled: Tensor
    old: Tensor
    advantages: Tensor
    shares: Tensor


def epoch_order(num_examples: int, seed: int, epoch: int) -> list[int]:
    """A permutation that depends on nothing but its arguments."""
    return [int(index) for index in np.random.default_rng((seed, epoch)).permutation(num_examples)]


def step_indices(num_examples: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The examples of optimiser step `step` (from 0); an epoch's last batch may be smaller."""
    steps_per_epoch = math.ceil(num_examples / batch_size)
    epoch, position = divmod(step, steps_per_epoch)
    return epoch_order(num_examples, seed, epoch)[position * batch_size : (position + 1) * batch_size]


def micro_batches(lengths: Sequence[int], indices: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cuts `indices` into groups of at most `max_tokens` padded tokens, longest first; one example always fits."""
    groups: list[list[int]] = []
    longest = padding = 0
    for index in sorted(indices, key=lambda i: (-lengths[i], i)):
        padding += longest - lengths[index]
        full = bool(groups) and (len(groups[-1]) + 1) * longest > max_tokens
        if not groups or full or padding > _TOLERATED_PADDING * max_tokens:
            groups.append([])
            longest, padding = lengths[index], 0
        groups[-1].append(index)
    return groups


def deal(groups: Sequence[list[T]], rank: int, world_size: int) -> list[list[T]]:
    """This rank's share; all ranks get equally many, an empty group meaning a pass that counts for nothing."""
    rounds = math.ceil(len(groups) / world_size)
    share = [groups[i] for i in range(rank, len(groups), world_size)]
    return share + [[] for _ in range(rounds - len(share))]


def collate(examples: Sequence[Example], device: torch.device) -> MicroBatch:
    """Pads `examples` to one shape; without any, a single pair of tokens of weight 0."""
    rows = examples or [Example(np.zeros(2, np.int32), np.zeros(2, np.float32))]
    length = max(2, *(len(row.tokens) for row in rows), 2)
    tokens = np.zeros((len(rows), length), np.int64)
    weights = np.zeros((len(rows), length), np.float32)
    sampled = np.zeros((len(rows), length), np.float32)
    old = np.zeros((len(rows), length), np.float32)
    for i, row in enumerate(rows):
        tokens[i, : len(row.tokens)] = row.tokens
        weights[i, : len(row.weights)] = row.weights
        sampled[i, : len(row.sampled)] = row.sampled
        old[i, : len(row.old)] = row.old
    return MicroBatch(
        tokens=torch.from_numpy(tokens).to(device),
        weights=torch.from_numpy(weights[:, 1:]).to(device),
        sampled=torch.from_numpy(sampled[:, 1:]).to(device),
        old=torch.from_numpy(old[:, 1:]).to(device),
        advantages=torch.tensor([row.advantage for row in rows], dtype=torch.float32, device=device),
        shares=torch.tensor([row.share for row in rows], dtype=torch.float32, device=device),
    )
